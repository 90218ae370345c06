/** Jobs of the GhostStream protocol: what is asked for, and how they stand. */
import { ApiError, isObject, number, text } from './http';

export type JobState = 'queued' | 'processing' | 'ready' | 'error' | 'cancelled';
/** `live`: segments are added to a stream whose end is not known. */
export type Phase = 'probing' | 'starting' | 'encoding' | 'paused' | 'ready' | 'idle' | 'live';

/** Which segments are ready: inclusive ranges of segment numbers, in order. */
export interface SegmentMap {
  readonly total: number;
  readonly ready: ReadonlyArray<readonly [number, number]>;
}

/** A job as the gateway describes it; what a gateway leaves out is null or empty. */
export interface Job {
  readonly id: string;
  readonly state: JobState;
  /** 0..100. */
  readonly progress: number;
  readonly durationSeconds: number | null;
  /** What is there from the beginning on without a gap. */
  readonly madeSeconds: number;
  /** What is played, as far as others may see it. */
  readonly source: string | null;
  readonly streamUrl: string | null;
  readonly error: string | null;
  /** Encoding speed relative to playing time. */
  readonly speed: number | null;
  readonly phase: Phase | null;
  readonly segments: SegmentMap | null;
  readonly warnings: readonly string[];
  /** Whether others watch it too, so that deleting it would stop them. */
  readonly shared: boolean;
}

/** What is asked for. `adaptive` lets the player choose among several sizes. */
export type Quality = 'adaptive' | 'original' | '2160p' | '1440p' | '1080p' | '720p' | '480p' | '360p';
export type VideoChoice = 'copy' | 'h264';

export interface PlayRequest {
  readonly source: string;
  readonly quality: Quality;
  readonly video: VideoChoice;
}

const STATES: readonly string[] = ['queued', 'processing', 'ready', 'error', 'cancelled'];
const PHASES: readonly string[] = ['probing', 'starting', 'encoding', 'paused', 'ready', 'idle', 'live'];

function segmentMap(value: unknown): SegmentMap | null {
  if (!isObject(value)) return null;
  const total = number(value['total']);
  if (total === null || total < 1 || !Array.isArray(value['ready'])) return null;
  const ready: Array<readonly [number, number]> = [];
  for (const range of value['ready'] as unknown[]) {
    if (!Array.isArray(range)) continue;
    const first = number(range[0]);
    const last = number(range[1]);
    if (first !== null && last !== null && first >= 0 && last >= first) ready.push([first, Math.min(last, total - 1)]);
  }
  return { total, ready };
}

/** Reads a start or status reply. Throws `ApiError` when it is not one. */
export function readJob(body: unknown): Job {
  const id = isObject(body) ? text(body['job_id']) : null;
  const state = isObject(body) ? text(body['status']) : null;
  if (!isObject(body) || id === null || state === null || !STATES.includes(state)) {
    throw new ApiError(200, 'the gateway answered something that is not a job');
  }
  const phase = text(body['phase']);
  const duration = number(body['duration']);
  const warnings = Array.isArray(body['warnings']) ? (body['warnings'] as unknown[]) : [];
  return {
    id,
    state: state as JobState,
    progress: Math.min(100, Math.max(0, number(body['progress']) ?? 0)),
    // A job that is not probed yet reports 0.
    durationSeconds: duration !== null && duration > 0 ? duration : null,
    madeSeconds: Math.max(0, number(body['current_time']) ?? 0),
    source: text(body['source']),
    streamUrl: text(body['stream_url']),
    error: text(body['error_message']),
    speed: number(body['speed']),
    phase: phase !== null && PHASES.includes(phase) ? (phase as Phase) : null,
    segments: segmentMap(body['segments']),
    warnings: warnings.filter((w): w is string => typeof w === 'string' && w !== ''),
    shared: body['is_shared'] === true || (number(body['viewer_count']) ?? 0) > 1,
  };
}

/** The mode and the output to ask for. A picture that is scaled cannot be kept as it is. */
export function orderOf(request: PlayRequest): { mode: 'stream' | 'abr'; output: { resolution: string; video_codec: VideoChoice } } {
  const { quality, video } = request;
  if (quality === 'adaptive') return { mode: 'abr', output: { resolution: 'original', video_codec: 'h264' } };
  if (quality === 'original') return { mode: 'stream', output: { resolution: 'original', video_codec: video } };
  return { mode: 'stream', output: { resolution: quality === '2160p' ? '4k' : quality, video_codec: 'h264' } };
}
