/** What the gateway's own API and its machine answer, by the names on the wire. */

export interface FileEntry {
  readonly name: string;
  readonly path: string;
  readonly isDir: boolean;
  readonly sizeBytes: number | null;
}
export interface Folder {
  readonly path: string;
  readonly entries: readonly FileEntry[];
}

// ---------------------------------------------------------------- queue

export type QueueState = 'waiting' | 'ready' | 'leased' | 'done' | 'failed' | 'cancelled';

/** `GET /api/v2/jobs/{id}`. Times are RFC 3339. */
export interface QueueJob {
  readonly id: string;
  readonly kind: string;
  readonly state: QueueState;
  readonly source: string;
  readonly requires: string;
  readonly priority: number;
  readonly parents: readonly string[];
  readonly attempts: number;
  readonly failures: number;
  readonly max_failures: number;
  readonly worker: string | null;
  readonly lease_expires_at: string | null;
  readonly progress: { readonly percent: number; readonly message?: string } | null;
  readonly output: {
    readonly url: string | null;
    readonly size_bytes: number | null;
    readonly sha256: string | null;
    readonly notes: readonly string[];
  } | null;
  readonly error: unknown;
  readonly created_at: string | null;
  readonly updated_at: string | null;
}

/** `GET /api/v2/jobs`. `next` is the `after` of the next page. */
export interface QueuePage {
  readonly jobs: readonly QueueJob[];
  readonly next: string | null;
}
export interface QueueQuery {
  readonly states: readonly QueueState[];
  readonly kinds: readonly string[];
  readonly limit: number;
  readonly after: string | null;
}

/** `GET /api/v2/queue`. */
export interface QueueCounts {
  readonly counts: ReadonlyArray<{ readonly kind: string; readonly state: QueueState; readonly jobs: number }>;
}

/** A file that this gateway makes now (event `progress`). */
export interface FileProgress {
  readonly id: string;
  readonly percent: number;
  readonly speed: number;
  readonly eta_seconds: number | null;
  readonly phase: string;
  readonly encoded_by: string | null;
}

/** A file to be made of a source. */
export interface FileOrder {
  readonly source: string;
  readonly format: 'mp4' | 'webm' | 'mkv';
  readonly video_codec: 'h264' | 'h265' | 'vp9' | 'av1' | 'copy';
  readonly resolution: string;
  readonly two_pass: boolean;
}

// ---------------------------------------------------------------- streams

/** An entry of `GET /api/v2/streams`. */
export interface StreamSummary {
  readonly job_id: string;
  /** Equal for jobs that share it; null until the source was probed. */
  readonly stream: string | null;
  readonly source: string;
  readonly mode: string;
  readonly client: string | null;
  readonly state: 'queued' | 'processing' | 'ready' | 'error' | 'cancelled';
  readonly phase: string;
  readonly progress: number;
  readonly duration: number | null;
  readonly speed: number;
  readonly eta_seconds: number | null;
  readonly encoded_by: string | null;
  /** Encoders at work for it. */
  readonly encoders: number;
  readonly viewers: number;
  readonly error: string | null;
  readonly warnings: readonly string[];
  readonly created_at: string;
}

/** An encoder at work on a track; `position` in seconds of the stream. */
export interface StreamHead {
  readonly segment: number;
  readonly position: number;
  readonly paused: boolean;
  readonly speed: number | null;
}
export interface StreamTrack {
  readonly id: string;
  readonly kind: 'video' | 'audio';
  readonly name: string;
  readonly codec: string;
  /** ffmpeg's name of the encoder, or `copy`. */
  readonly encoder: string;
  readonly accelerator: string | null;
  /** Seconds from and to, in order and apart. */
  readonly ready: ReadonlyArray<readonly [number, number]>;
  readonly ready_segments: number;
  readonly heads: readonly StreamHead[];
  readonly last_failure: string | null;
}
export interface StreamMap {
  readonly duration: number;
  readonly open_ended: boolean;
  readonly segments: number | null;
  readonly tracks: readonly StreamTrack[];
}
/** `GET /api/v2/streams/{id}`; `map` is null until the source was probed. */
export interface StreamDetail extends StreamSummary {
  readonly map: StreamMap | null;
}

// ---------------------------------------------------------------- machine

/** `GET /api/capabilities`. */
export interface Capabilities {
  readonly hw_accels: readonly Accelerator[];
  readonly video_codecs: readonly string[];
  readonly audio_codecs: readonly string[];
  readonly formats: readonly string[];
  readonly max_concurrent_jobs: number;
  readonly ffmpeg_version: string;
  readonly platform: string;
}
export interface Accelerator {
  readonly type: string;
  readonly available: boolean;
  readonly encoders: readonly string[];
  readonly decoders: readonly string[];
  /** Why it is not available. */
  readonly reason?: string;
  readonly device_path?: string;
  readonly gpu_info?: { readonly name: string; readonly memory_mb: number | null; readonly driver_version: string | null };
}

/** `GET /api/health/detailed`. */
export interface Health {
  readonly status: 'healthy' | 'degraded' | 'unhealthy';
  readonly version: string;
  readonly environment: string;
  readonly uptime_seconds: number;
  readonly checks: {
    readonly cpu: { readonly status: string; readonly usage_percent: number };
    readonly memory: { readonly status: string; readonly usage_percent: number; readonly available_mb: number };
    readonly disk: { readonly status: string; readonly usage_percent: number; readonly free_gb: number };
    readonly job_queue: { readonly status: string };
    readonly active_jobs: { readonly count: number; readonly max_concurrent: number };
  };
}

/** `GET /api/stats`. */
export interface Stats {
  readonly total_jobs_processed: number;
  readonly successful_jobs: number;
  readonly failed_jobs: number;
  readonly cancelled_jobs: number;
  readonly active_jobs: number;
  readonly average_transcode_speed: number;
  readonly uptime_seconds: number;
  readonly total_bytes_processed: number;
  readonly active_encoders: number;
  readonly cache_bytes: number;
}

/** An entry of `GET /api/v2/engines`. */
export interface Engine {
  readonly id: string;
  readonly alive: boolean;
  readonly busy: boolean;
  readonly abilities: {
    readonly kinds?: readonly string[];
    readonly codecs?: readonly string[] | null;
    readonly draining?: boolean;
  };
  readonly last_contact_seconds: number;
}

/** An entry of `GET /api/v1/runners` (PeerTube). */
export interface Runner {
  readonly id: number;
  readonly name: string;
  readonly description: string | null;
  readonly ip: string | null;
  readonly version: string | null;
  readonly createdAt: string;
  readonly lastContact: string;
}

/** An entry of `GET /videos`: a film that was given to the gateway, and what was made of it. */
export interface Video {
  readonly id: string;
  readonly name: string;
  readonly state: 'pending' | 'processing' | 'done' | 'failed';
  readonly error: string | null;
  readonly master_url: string | null;
  readonly duration_seconds?: number | null;
  readonly jobs: ReadonlyArray<{ readonly type: string; readonly progress: number | null }>;
}

// ---------------------------------------------------------------- settings

/** An entry of `GET /api/v2/config`. */
export interface Setting {
  readonly key: string;
  readonly value: unknown;
  readonly origin: string;
  readonly allowed: string;
  readonly is_secret: boolean;
  readonly is_set: boolean;
}
export interface Settings {
  readonly version: string;
  readonly license: string;
  /** Where other devices most likely reach the gateway; null when it is open to its own machine only. */
  readonly url: string | null;
  readonly settings: readonly Setting[];
}

/** A part of the program, of `GET /api/v2/licenses`. */
export interface Part {
  readonly name: string;
  readonly version: string;
  readonly license: string;
}

// ---------------------------------------------------------------- scenes (grav1)

/** A machine whose grav1 workers ask for scenes, of `GET /api/v2/scene-workers`. */
export interface SceneWorker {
  readonly ip: string;
  readonly last_contact_seconds: number;
  readonly scenes: ReadonlyArray<{ readonly project: string; readonly scene: string }>;
}

/** A scene of a project. `filesize` 0: not encoded yet. */
export interface Scene {
  readonly segment?: string;
  readonly start?: number;
  readonly frames: number;
  readonly filesize: number;
  readonly encoder_params?: string;
  /** Why it was given up. */
  readonly bad?: string;
  /** 0..100 of who encodes it, where they tell. */
  readonly progress?: number | null;
  /** Bits a second. */
  readonly bitrate?: number | null;
  readonly quality?: { readonly metric: string; readonly value: number; readonly quantiser: number | null } | null;
  /** Where its encode lies. */
  readonly url?: string | null;
}

/** An entry of `GET /api/get_projects`. */
export interface Project {
  readonly projectid: string;
  readonly input: string;
  /** Frames of the scenes that are done, and of all. */
  readonly frames: number;
  readonly total_frames: number;
  readonly fps?: number;
  /** Scenes that remain, and all. */
  readonly jobs: number;
  readonly total_jobs: number;
  readonly status: string;
  readonly encoder?: string;
  readonly encoder_params?: string;
  readonly ffmpeg_params?: string;
  readonly priority: number;
  readonly size?: number;
  readonly scenes?: Readonly<Record<string, Scene>>;
  /** Ids of the scenes that somebody encodes now. */
  readonly workers?: readonly string[];
  /** Why it failed. */
  readonly reason?: string | null;
  readonly paused?: boolean;
  /** Pictures a second of the film: `24000/1001`. */
  readonly frame_rate?: string | null;
  readonly completed_url?: string | null;
}
export interface ProjectOrder {
  readonly input: readonly string[];
  readonly encoder: string;
  readonly encoder_params: string;
  readonly ffmpeg_params: string;
  readonly min_frames: number;
  readonly max_frames: number;
  readonly priority: number;
  readonly on_complete: string;
  readonly id?: string;
  readonly password?: string;
}
/** `GET /api/get_info`: what the gateway can split for. */
export interface SceneInfo {
  readonly encoders: Readonly<Record<string, string | null>>;
  readonly actions: readonly string[];
  readonly password: boolean;
}
