/** The part of the gateway's HTTP interface that this page uses. */

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

export interface PlayRequest {
  readonly source: string;
  readonly resolution: Resolution;
  readonly video: Video;
}
export type Resolution = 'original' | '1080p' | '720p' | '480p';
export type Video = 'copy' | 'h264';

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

/** A request that did not succeed. `status` is 0 when no answer came at all. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
    this.name = 'ApiError';
  }
}

const STATES: readonly string[] = ['queued', 'processing', 'ready', 'error', 'cancelled'];
const PHASES: readonly string[] = ['probing', 'starting', 'encoding', 'paused', 'ready', 'idle', 'live'];

type Json = Record<string, unknown>;
const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value);
const text = (value: unknown): string | null => (typeof value === 'string' && value !== '' ? value : null);
const number = (value: unknown): number | null => (typeof value === 'number' && Number.isFinite(value) ? value : null);

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

/**
 * The reason in an error body, in words: `detail` as text or as a list of
 * `{msg, loc}`, or the fields other protocols of the gateway use. Null when the
 * body says nothing.
 */
export function reasonIn(bodyText: string): string | null {
  let body: unknown;
  try {
    body = JSON.parse(bodyText);
  } catch {
    return null;
  }
  if (!isObject(body)) return null;
  const detail = body['detail'] ?? body['error'] ?? body['Error'] ?? body['reason'] ?? body['message'];
  if (!Array.isArray(detail)) return text(detail);
  const parts = (detail as unknown[]).flatMap((item) => {
    if (!isObject(item)) return [];
    const message = text(item['msg']);
    if (message === null) return [];
    const loc = Array.isArray(item['loc']) ? (item['loc'] as unknown[]).filter((part) => part !== 'body').join('.') : '';
    return [loc === '' ? message : `${loc}: ${message}`];
  });
  return parts.length > 0 ? parts.join('; ') : null;
}

/** What an HTTP status means to a person, where the body does not say it. */
export function statusWords(status: number): string {
  switch (status) {
    case 0:
      return 'the gateway does not answer';
    case 401:
      return 'the gateway wants a key';
    case 403:
      return 'the gateway does not allow this';
    case 404:
      return 'the gateway does not know this';
    case 503:
      return 'the gateway is busy, try again in a moment';
    case 504:
      return 'the source took too long to answer';
    default:
      return status >= 500 ? `the gateway failed (${status})` : `the gateway refused this (${status})`;
  }
}

/** The codec and size to ask for. A picture that is scaled cannot be kept as it is. */
export function outputOf(request: PlayRequest): { resolution: Resolution; video_codec: Video } {
  const video_codec = request.resolution === 'original' ? request.video : 'h264';
  return { resolution: request.resolution, video_codec };
}

type Fetch = (input: string, init?: RequestInit) => Promise<Response>;

/** Talks to the gateway below `base` (which ends in a slash). */
export class Gateway {
  #key: string | null = null;

  constructor(
    private readonly base: string,
    private readonly session: string,
    private readonly fetch: Fetch = (input, init) => globalThis.fetch(input, init),
  ) {}

  /** Sends `security.api_key` along with every request from now on. */
  useKey(key: string | null): void {
    this.#key = key;
  }

  /** Starts a job. `ApiError` carries the gateway's own reason. */
  async start(request: PlayRequest, signal: AbortSignal): Promise<Job> {
    const body = {
      source: request.source,
      mode: 'stream',
      output: outputOf(request),
      start_time: 0,
      session_id: this.session,
    };
    return readJob(await this.#json('api/transcode/start', { method: 'POST', body: JSON.stringify(body), signal }));
  }

  async status(id: string, signal: AbortSignal): Promise<Job> {
    return readJob(await this.#json(`api/transcode/${encodeURIComponent(id)}/status`, { signal }));
  }

  /**
   * Gives a job back: ends it, or, when others watch it, only leaves it. Survives
   * the page (`keepalive`); never throws, for nobody can act on a failure.
   */
  async release(job: Pick<Job, 'id' | 'shared'>): Promise<void> {
    const path = `api/transcode/${encodeURIComponent(job.id)}`;
    try {
      if (job.shared) {
        const query = new URLSearchParams({ session_id: this.session });
        await this.#request(`${path}/leave?${query}`, {
          method: 'POST',
          body: JSON.stringify({ session_id: this.session }),
          keepalive: true,
        });
      } else {
        await this.#request(path, { method: 'DELETE', keepalive: true });
      }
    } catch {
      // The gateway ends jobs that nobody asks for by itself.
    }
  }

  /** Lists a folder of `sources.roots`; the empty path lists the roots. */
  async files(path: string, signal: AbortSignal): Promise<Folder> {
    const body = await this.#json(`api/v2/files?${new URLSearchParams({ path })}`, { signal });
    if (!isObject(body) || !Array.isArray(body['entries'])) {
      throw new ApiError(200, 'the gateway answered something that is not a folder');
    }
    const entries = (body['entries'] as unknown[]).flatMap((entry): FileEntry[] => {
      const name = isObject(entry) ? text(entry['name']) : null;
      const entryPath = isObject(entry) ? text(entry['path']) : null;
      if (!isObject(entry) || name === null || entryPath === null) return [];
      return [{ name, path: entryPath, isDir: entry['is_dir'] === true, sizeBytes: number(entry['size_bytes']) }];
    });
    return { path: text(body['path']) ?? path, entries };
  }

  async #json(path: string, init: RequestInit): Promise<unknown> {
    const response = await this.#request(path, init);
    try {
      return (await response.json()) as unknown;
    } catch (error) {
      if (init.signal?.aborted) throw error;
      throw new ApiError(response.status, 'the gateway answered something that is not JSON');
    }
  }

  async #request(path: string, init: RequestInit): Promise<Response> {
    const headers: Record<string, string> = { Accept: 'application/json' };
    if (init.body !== undefined) headers['Content-Type'] = 'application/json';
    if (this.#key !== null) headers['X-API-Key'] = this.#key;
    let response: Response;
    try {
      response = await this.fetch(this.base + path, { ...init, headers });
    } catch (error) {
      if (init.signal?.aborted) throw error;
      throw new ApiError(0, statusWords(0));
    }
    if (!response.ok) {
      const reason = reasonIn(await response.text().catch(() => ''));
      throw new ApiError(response.status, reason ?? statusWords(response.status));
    }
    return response;
  }
}
