/** The gateway, as this page uses it: every address it asks is named here, and nowhere else. */
import { readEvents, type ServerEvent } from './events';
import { ApiError, type Fetch, Transport, isObject, number, text } from './http';
import { type Job, type PlayRequest, orderOf, readJob } from './job';
import type {
  Capabilities,
  Engine,
  FileEntry,
  FileOrder,
  Folder,
  Health,
  Part,
  Project,
  ProjectOrder,
  QueueCounts,
  QueueJob,
  QueuePage,
  QueueQuery,
  Runner,
  SceneInfo,
  SceneWorker,
  Settings,
  Stats,
  StreamDetail,
  Video as UploadedVideo,
} from './types';

const post = (body: unknown): RequestInit => ({ method: 'POST', body: JSON.stringify(body) });
const part = encodeURIComponent;

/** Talks to the gateway below `base` (which ends in a slash). `session` is the name of this visit. */
export class Gateway {
  readonly #http: Transport;

  constructor(
    base: string,
    private readonly session: string,
    fetch?: Fetch,
  ) {
    this.#http = new Transport(base, fetch);
  }

  /** Sends `security.api_key` along with every request from now on. */
  useKey(key: string | null): void {
    this.#http.useKey(key);
  }

  // -------------------------------------------------------------- playing

  /** Starts a job. `ApiError` carries the gateway's own reason. */
  async start(request: PlayRequest, signal: AbortSignal): Promise<Job> {
    const body = { source: request.source, ...orderOf(request), start_time: 0, session_id: this.session };
    return readJob(await this.#http.json('api/transcode/start', { ...post(body), signal }));
  }

  async status(id: string, signal: AbortSignal): Promise<Job> {
    return readJob(await this.#http.json(`api/transcode/${part(id)}/status`, { signal }));
  }

  /**
   * Gives a job back: ends it, or, when others watch it, only leaves it. Survives
   * the page (`keepalive`); never throws, for nobody can act on a failure.
   */
  async release(job: Pick<Job, 'id' | 'shared'>): Promise<void> {
    const path = `api/transcode/${part(job.id)}`;
    try {
      if (job.shared) {
        const query = new URLSearchParams({ session_id: this.session });
        await this.#http.request(`${path}/leave?${query}`, { method: 'POST', keepalive: true });
      } else {
        await this.#http.request(path, { method: 'DELETE', keepalive: true });
      }
    } catch {
      // The gateway ends jobs that nobody asks for by itself.
    }
  }

  /** Ends a stream for all who watch it. */
  async stopStream(id: string): Promise<void> {
    await this.#http.request(`api/transcode/${part(id)}`, { method: 'DELETE' });
  }

  /** What of a stream is there and who makes the rest. Looking does not count as watching. */
  async stream(id: string, signal: AbortSignal): Promise<StreamDetail> {
    return (await this.#http.json(`api/v2/streams/${part(id)}`, { signal })) as StreamDetail;
  }

  // -------------------------------------------------------------- sources

  /** Lists a folder of `sources.roots`; the empty path lists the roots. */
  async files(path: string, signal: AbortSignal): Promise<Folder> {
    const body = await this.#http.json(`api/v2/files?${new URLSearchParams({ path })}`, { signal });
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

  /** A picture of a source, `at` seconds or where it is likely to show something. */
  async thumb(source: string, width: number, at: number | null, signal: AbortSignal): Promise<Blob> {
    const query = new URLSearchParams({ url: source, width: String(width), quality: '70' });
    if (at !== null) query.set('t', at.toFixed(1));
    return (await this.#picture(`thumb?${query}`, signal)).blob();
  }

  /** The list (WebVTT) of the pictures of a film, one each `interval` seconds. */
  async storyboard(source: string, interval: number, width: number, signal: AbortSignal): Promise<string> {
    const query = new URLSearchParams({ url: source, interval: String(interval), width: String(width), columns: '8' });
    return (await this.#picture(`storyboard?${query}`, signal)).text();
  }

  /** A sheet that a storyboard names: its own address, whatever name of the gateway stands in it. */
  async sheet(query: string, signal: AbortSignal): Promise<Blob> {
    return (await this.#picture(`storyboard?${query}`, signal)).blob();
  }

  #picture(path: string, signal: AbortSignal): Promise<Response> {
    return this.#http.request(path, { signal, headers: { Accept: '*/*' } });
  }

  /** Films that were given to the gateway; null where it takes none. */
  async videos(signal: AbortSignal): Promise<readonly UploadedVideo[] | null> {
    const body = await this.#optional('videos/', signal);
    const list = isObject(body) ? (body['data'] ?? body['videos']) : body;
    return Array.isArray(list) ? (list as UploadedVideo[]) : null;
  }

  async removeVideo(id: string): Promise<void> {
    await this.#http.request(`video/${part(id)}`, { method: 'DELETE' });
  }

  /** Takes a file of the visitor's; its id, under which it is a video of the gateway. */
  async upload(file: File, jobs: string, signal: AbortSignal): Promise<string> {
    const form = new FormData();
    form.set('name', file.name);
    form.set('jobs', jobs);
    form.set('videoFile', file, file.name);
    const body = await this.#http.json('video/upload', { method: 'POST', body: form, signal });
    const video = isObject(body) && isObject(body['video']) ? body['video'] : {};
    return text(video['uuid']) ?? String(video['id']);
  }

  // -------------------------------------------------------------- queue

  async jobs(query: QueueQuery, signal: AbortSignal): Promise<QueuePage> {
    const asked = new URLSearchParams({ limit: String(query.limit) });
    if (query.states.length > 0) asked.set('state', query.states.join(','));
    if (query.kinds.length > 0) asked.set('kind', query.kinds.join(','));
    if (query.after !== null) asked.set('after', query.after);
    return (await this.#http.json(`api/v2/jobs?${asked}`, { signal })) as QueuePage;
  }

  async counts(signal: AbortSignal): Promise<QueueCounts> {
    return (await this.#http.json('api/v2/queue', { signal })) as QueueCounts;
  }

  async job(id: string): Promise<QueueJob> {
    return (await this.#http.json(`api/v2/jobs/${part(id)}`)) as QueueJob;
  }

  async cancelJob(id: string): Promise<QueueJob> {
    return (await this.#http.json(`api/v2/jobs/${part(id)}/cancel`, { method: 'POST' })) as QueueJob;
  }

  async retryJob(id: string): Promise<QueueJob> {
    return (await this.#http.json(`api/v2/jobs/${part(id)}/retry`, { method: 'POST' })) as QueueJob;
  }

  /** Higher comes first; 0 is usual. */
  async prioritise(id: string, priority: number): Promise<QueueJob> {
    return (await this.#http.json(`api/v2/jobs/${part(id)}/priority`, post({ priority }))) as QueueJob;
  }

  /** Queues the making of a file; its id in the queue. */
  async makeFile(order: FileOrder): Promise<string> {
    const { source, format, video_codec, resolution, two_pass } = order;
    const output = { format, video_codec, resolution, two_pass, audio_codec: format === 'webm' ? 'opus' : 'aac' };
    const body = { source, mode: 'batch', output };
    return readJob(await this.#http.json('api/transcode/start', post(body))).id;
  }

  /** What changes, until `signal` fires or the connection ends. */
  async events(heard: (event: ServerEvent) => void, signal: AbortSignal): Promise<void> {
    const response = await this.#http.request('api/v2/events', { signal, headers: { Accept: 'text/event-stream' } });
    if (response.body !== null) await readEvents(response.body, heard);
  }

  // -------------------------------------------------------------- machines

  async capabilities(signal: AbortSignal): Promise<Capabilities> {
    return (await this.#http.json('api/capabilities', { signal })) as Capabilities;
  }

  /** Also of a gateway that is not well, which says so with 503. */
  async health(signal: AbortSignal): Promise<Health> {
    return (await this.#http.json('api/health/detailed', { signal }, 503)) as Health;
  }

  async stats(signal: AbortSignal): Promise<Stats> {
    return (await this.#http.json('api/stats', { signal })) as Stats;
  }

  async engines(signal: AbortSignal): Promise<readonly Engine[]> {
    const body = (await this.#http.json('api/v2/engines', { signal })) as { engines: readonly Engine[] };
    return body.engines;
  }

  /** It finishes what it has and gets no more; or gets work again. */
  async drainEngine(id: string, draining: boolean): Promise<void> {
    await this.#http.request(`api/v2/engines/${part(id)}/${draining ? 'drain' : 'resume'}`, { method: 'POST' });
  }

  /** Forgets it; what it had is offered again. */
  async removeEngine(id: string): Promise<void> {
    await this.#http.request(`api/v2/engines/${part(id)}`, { method: 'DELETE' });
  }

  /** Null where the gateway has no front door for them. */
  async runners(signal: AbortSignal): Promise<readonly Runner[] | null> {
    const body = await this.#optional('api/v1/runners?count=100', signal);
    return isObject(body) && Array.isArray(body['data']) ? (body['data'] as Runner[]) : null;
  }

  /** A new token with which PeerTube runners register. */
  async runnerToken(): Promise<string | null> {
    await this.#http.request('api/v1/runners/registration-tokens/generate', { method: 'POST' });
    const body = await this.#http.json('api/v1/runners/registration-tokens?count=100');
    const tokens = isObject(body) && Array.isArray(body['data']) ? (body['data'] as Array<Record<string, unknown>>) : [];
    const newest = [...tokens].sort((a, b) => Number(b['id']) - Number(a['id']))[0];
    return text(newest?.['registrationToken']);
  }

  async settings(signal: AbortSignal): Promise<Settings> {
    return (await this.#http.json('api/v2/config', { signal })) as Settings;
  }

  /** Crates and packages that are in the program. */
  async licenses(signal: AbortSignal): Promise<readonly Part[]> {
    const body = (await this.#http.json('api/v2/licenses', { signal })) as { parts: readonly Part[] };
    return body.parts;
  }

  // -------------------------------------------------------------- scenes

  /** Null where the gateway has no front door for them. */
  async projects(signal: AbortSignal): Promise<readonly Project[] | null> {
    const body = await this.#optional('api/get_projects', signal);
    return Array.isArray(body) ? (body as Project[]) : null;
  }

  async project(id: string, signal: AbortSignal): Promise<Project> {
    return (await this.#http.json(`api/get_project/${part(id)}`, { signal })) as Project;
  }

  async sceneInfo(signal: AbortSignal): Promise<SceneInfo | null> {
    return (await this.#optional('api/get_info', signal)) as SceneInfo | null;
  }

  async sceneWorkers(signal: AbortSignal): Promise<readonly SceneWorker[]> {
    const body = (await this.#http.json('api/v2/scene-workers', { signal })) as { workers: readonly SceneWorker[] };
    return body.workers;
  }

  async addProject(order: ProjectOrder): Promise<void> {
    await this.#told('api/add_project', order);
  }

  async pauseProject(id: string, paused: boolean, password: string): Promise<void> {
    await this.#http.request(`api/v2/projects/${part(id)}/${paused ? 'pause' : 'resume'}`, post({ password }));
  }

  /** Encodes a scene once more, with other parameters from now on if some are given. */
  async retryScene(project: string, scene: string, password: string, params: string | null = null): Promise<void> {
    const body = params === null ? { password } : { password, encoder_params: params };
    await this.#http.request(`api/v2/projects/${part(project)}/scenes/${part(scene)}/retry`, post(body));
  }

  async deleteProject(id: string, password: string): Promise<void> {
    await this.#told(`api/delete_project/${part(id)}`, { password });
  }

  /** The bytes of a scene as it was encoded. */
  async scene(project: string, file: string, signal: AbortSignal): Promise<Blob> {
    const path = `scene/${part(project)}/${part(file)}`;
    return (await this.#http.request(path, { signal, headers: { Accept: '*/*' } })).blob();
  }

  /** This protocol says in a success whether it was one. */
  async #told(path: string, body: unknown): Promise<void> {
    const answer = await this.#http.json(path, post(body));
    if (isObject(answer) && answer['success'] === true) return;
    const reason = isObject(answer) ? text(answer['reason']) : null;
    throw new ApiError(200, reason ?? 'the gateway refused this');
  }

  /** Null when the gateway does not know the address. */
  async #optional(path: string, signal: AbortSignal): Promise<unknown> {
    try {
      return await this.#http.json(path, { signal });
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return null;
      throw error;
    }
  }
}
