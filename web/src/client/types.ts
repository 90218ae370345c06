/**
 * What the gateway answers, by the names on the wire. `schema` is made of the description of its API
 * (`npm run client`); what is written out here belongs to protocols that others describe.
 */
import type { components, paths } from './schema';

/** What a GET is answered when all is well. */
type Answer<Path extends keyof paths> = paths[Path] extends {
  get: { responses: { 200: { content: { 'application/json': infer Body } } } };
}
  ? Body
  : never;

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

export type QueueState = QueueJob['state'];

/** `GET /api/v2/jobs/{id}`. Times are RFC 3339. */
export type QueueJob = components['schemas']['Job'];

/** `next` is the `after` of the next page. */
export type QueuePage = Answer<'/api/v2/jobs'>;
export interface QueueQuery {
  readonly states: readonly QueueState[];
  readonly kinds: readonly string[];
  readonly limit: number;
  readonly after: string | null;
}

export type QueueCounts = Answer<'/api/v2/queue'>;

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

/** `stream` is equal for jobs that share it, and null until the source was probed. */
export type StreamSummary = Answer<'/api/v2/streams'>['streams'][number];

/** An encoder at work on a track; `position` in seconds of the stream. */
export type StreamHead = StreamTrack['heads'][number];
export type StreamTrack = StreamMap['tracks'][number];
export type StreamMap = NonNullable<StreamDetail['map']>;
/** `map` is null until the source was probed. */
export type StreamDetail = Answer<'/api/v2/streams/{id}'>;

// ---------------------------------------------------------------- machine

export type Capabilities = Answer<'/api/capabilities'>;
export type Accelerator = Capabilities['hw_accels'][number];

export type Health = Answer<'/api/health/detailed'>;

export type Stats = Answer<'/api/stats'>;

export type Engine = Answer<'/api/v2/engines'>['engines'][number];

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

export type Setting = Settings['settings'][number];
export type Settings = Answer<'/api/v2/config'>;

/** A crate or package in the program. */
export type Part = Answer<'/api/v2/licenses'>['parts'][number];

// ---------------------------------------------------------------- scenes (grav1)

/** A machine whose grav1 workers ask for scenes. */
export type SceneWorker = Answer<'/api/v2/scene-workers'>['workers'][number];

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
