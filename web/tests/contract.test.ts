import { describe, expect, it } from 'vitest';
import document from '../openapi.json';
import { Gateway } from '../src/client';

/** Calls of protocols that others describe, by how their paths begin. */
const FOREIGN = ['/api/v1/runners', '/video', '/videos', '/api/get_projects', '/api/get_project/', '/api/get_info', '/api/add_project', '/api/delete_project/', '/scene/'];

interface Operation {
  readonly parameters?: ReadonlyArray<{ readonly in: string; readonly name: string }>;
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: Shape }>> };
}
interface Shape {
  readonly $ref?: string;
  readonly properties?: Readonly<Record<string, Shape>>;
}
const paths = document.paths as unknown as Readonly<Record<string, Readonly<Record<string, Operation>>>>;
const schemas = document.components.schemas as unknown as Readonly<Record<string, Shape>>;
const resolved = (shape: Shape): Shape => (shape.$ref === undefined ? shape : (schemas[shape.$ref.replace(/^.*\//, '')] ?? {}));

function described(method: string, path: string): Operation | undefined {
  for (const [template, item] of Object.entries(paths)) {
    if (new RegExp(`^${template.replace(/\{[^}]+\}/g, '[^/]+')}$`).test(path)) return item[method.toLowerCase()];
  }
  return undefined;
}

const signal = new AbortController().signal;
const play = { source: 's.mkv', quality: 'adaptive', video: 'copy' } as const;
const file = { source: 's', format: 'mp4', video_codec: 'h264', resolution: '720p', two_pass: true } as const;
const order = { input: ['a'], encoder: 'aom', encoder_params: '', ffmpeg_params: '', min_frames: 1, max_frames: 2, priority: 0, on_complete: '' };
const query = { states: ['ready'], kinds: ['batch'], limit: 5, after: 'x' } as const;

/** Every call of the client, with arguments that use all it can say. */
const CALLS: Readonly<Record<string, (gateway: Gateway) => Promise<unknown>>> = {
  start: (g) => g.start(play, signal),
  status: (g) => g.status('a', signal),
  release: (g) => g.release({ id: 'a', shared: true }),
  stopStream: (g) => g.stopStream('a'),
  stream: (g) => g.stream('a', signal),
  files: (g) => g.files('x', signal),
  thumb: (g) => g.thumb('s', 320, 3, signal),
  storyboard: (g) => g.storyboard('s', 2, 160, signal),
  sheet: (g) => g.sheet('url=s&sheet=0', signal),
  videos: (g) => g.videos(signal),
  removeVideo: (g) => g.removeVideo('a'),
  upload: (g) => g.upload(new File([], 'f'), 'hls', signal),
  jobs: (g) => g.jobs(query, signal),
  counts: (g) => g.counts(signal),
  job: (g) => g.job('a'),
  cancelJob: (g) => g.cancelJob('a'),
  retryJob: (g) => g.retryJob('a'),
  prioritise: (g) => g.prioritise('a', 1),
  makeFile: (g) => g.makeFile(file),
  events: (g) => g.events(() => undefined, signal),
  capabilities: (g) => g.capabilities(signal),
  health: (g) => g.health(signal),
  stats: (g) => g.stats(signal),
  engines: (g) => g.engines(signal),
  drainEngine: (g) => g.drainEngine('a', true),
  removeEngine: (g) => g.removeEngine('a'),
  runners: (g) => g.runners(signal),
  runnerToken: (g) => g.runnerToken(),
  settings: (g) => g.settings(signal),
  licenses: (g) => g.licenses(signal),
  projects: (g) => g.projects(signal),
  project: (g) => g.project('a', signal),
  sceneInfo: (g) => g.sceneInfo(signal),
  sceneWorkers: (g) => g.sceneWorkers(signal),
  addProject: (g) => g.addProject(order),
  pauseProject: (g) => g.pauseProject('a', true, 'p'),
  retryScene: (g) => g.retryScene('a', '1', 'p', '-crf 30'),
  deleteProject: (g) => g.deleteProject('a', 'p'),
  scene: (g) => g.scene('a', '1.ivf', signal),
};

describe('the client', () => {
  it('has no call that is not looked at here', () => {
    const own = Object.getOwnPropertyNames(Gateway.prototype).filter((name) => !['constructor', 'useKey'].includes(name));
    expect(own.sort()).toEqual(Object.keys(CALLS).sort());
  });

  it.each(Object.entries(CALLS))('asks in %s as the description of the API says', async (_name, call) => {
    const asked: Array<{ url: URL; init: RequestInit }> = [];
    const gateway = new Gateway('http://gw/', 'visit', (url, init = {}) => {
      asked.push({ url: new URL(url), init });
      return Promise.resolve(new Response('{}'));
    });
    // What it makes of an empty answer is tested elsewhere.
    await call(gateway).catch(() => undefined);
    expect(asked.length).toBeGreaterThan(0);
    for (const { url, init } of asked) {
      if (FOREIGN.some((begin) => url.pathname.startsWith(begin))) continue;
      const operation = described(init.method ?? 'GET', url.pathname);
      expect(operation, `${init.method ?? 'GET'} ${url.pathname}`).toBeDefined();
      const known = (operation?.parameters ?? []).filter((parameter) => parameter.in === 'query').map((parameter) => parameter.name);
      for (const name of url.searchParams.keys()) expect(known, url.pathname).toContain(name);
      if (typeof init.body !== 'string') continue;
      const shape = resolved(operation?.requestBody?.content['application/json']?.schema ?? {});
      const compare = (value: object, against: Shape): void => {
        for (const [name, inner] of Object.entries(value) as Array<[string, unknown]>) {
          const field = resolved(against).properties?.[name];
          expect(field, `${url.pathname}: ${name}`).toBeDefined();
          if (typeof inner === 'object' && inner !== null && field !== undefined) compare(inner, field);
        }
      };
      compare(JSON.parse(init.body) as object, shape);
    }
  });
});
