import { describe, expect, it } from 'vitest';
import { ApiError, Gateway, orderOf, readJob, reasonIn } from '../src/client';

const reply = (status: number, body: unknown): Response =>
  new Response(typeof body === 'string' ? body : JSON.stringify(body), { status });

function gateway(answer: () => Response | Promise<Response>) {
  const calls: Array<{ url: string; init: RequestInit }> = [];
  const client = new Gateway('http://gw/', 'visit', (url, init = {}) => {
    calls.push({ url, init });
    return Promise.resolve().then(answer);
  });
  return { client, calls };
}
const signal = new AbortController().signal;
const request = { source: 's.mkv', quality: 'original', video: 'copy' } as const;

describe('a job', () => {
  it('is read with all extras', () => {
    const job = readJob({
      job_id: 'a',
      status: 'processing',
      progress: 14.2,
      duration: 60,
      stream_url: 'http://gw/stream/a/master.m3u8',
      speed: 2.3,
      phase: 'encoding',
      segments: { total: 15, ready: [[0, 3], [9, 99], [5, 4], 'x'] },
      warnings: ['no audio', 3],
    });
    expect(job).toMatchObject({ id: 'a', state: 'processing', durationSeconds: 60, speed: 2.3, phase: 'encoding' });
    expect(job.segments).toEqual({ total: 15, ready: [[0, 3], [9, 14]] });
    expect(job.warnings).toEqual(['no audio']);
  });
  it('is read from a gateway without extras, and 0 is no duration', () => {
    expect(readJob({ job_id: 'a', status: 'queued', progress: 0, duration: 0 })).toMatchObject({
      durationSeconds: null,
      phase: null,
      segments: null,
      shared: false,
    });
  });
  it('is shared when others watch', () => {
    expect(readJob({ job_id: 'a', status: 'ready', viewer_count: 2 }).shared).toBe(true);
    expect(readJob({ job_id: 'a', status: 'ready', viewer_count: 1, is_shared: false }).shared).toBe(false);
  });
  it('is not what another server answers', () => {
    expect(() => readJob({ ok: true })).toThrow(ApiError);
    expect(() => readJob({ job_id: 'a', status: 'sleeping' })).toThrow(ApiError);
    expect(() => readJob(null)).toThrow(ApiError);
  });
});

describe('the reason of an error', () => {
  it('is found in every shape', () => {
    expect(reasonIn('{"detail":"no such host"}')).toBe('no such host');
    expect(reasonIn('{"detail":[{"loc":["body","output","resolution"],"msg":"not a size"},{"msg":"b"}]}')).toBe(
      'output.resolution: not a size; b',
    );
    expect(reasonIn('{"Error":"refused"}')).toBe('refused');
    expect(reasonIn('<html>')).toBeNull();
    expect(reasonIn('{"detail":[]}')).toBeNull();
  });
});

describe('the client', () => {
  it('asks for the source as it is, unless it is scaled', () => {
    expect(orderOf(request)).toEqual({ mode: 'stream', output: { resolution: 'original', video_codec: 'copy' } });
    expect(orderOf({ ...request, quality: '720p' })).toEqual({ mode: 'stream', output: { resolution: '720p', video_codec: 'h264' } });
    expect(orderOf({ ...request, quality: '2160p' }).output.resolution).toBe('4k');
    expect(orderOf({ ...request, quality: 'adaptive' }).mode).toBe('abr');
  });
  it('starts a stream job', async () => {
    const { client, calls } = gateway(() => reply(200, { job_id: 'a', status: 'queued', progress: 0 }));
    client.useKey('k');
    await client.start(request, signal);
    expect(calls[0]?.url).toBe('http://gw/api/transcode/start');
    expect(calls[0]?.init.headers).toMatchObject({ 'X-API-Key': 'k', 'Content-Type': 'application/json' });
    expect(JSON.parse(String(calls[0]?.init.body))).toEqual({
      source: 's.mkv',
      mode: 'stream',
      output: { resolution: 'original', video_codec: 'copy' },
      start_time: 0,
      session_id: 'visit',
    });
  });
  it('carries the reason of a refusal, and words where there is none', async () => {
    const refused = gateway(() => reply(400, { detail: 'outside the roots' }));
    await expect(refused.client.start(request, signal)).rejects.toMatchObject({ status: 400, message: 'outside the roots' });
    const bare = gateway(() => reply(502, 'oops'));
    await expect(bare.client.start(request, signal)).rejects.toMatchObject({ status: 502, message: 'the gateway failed (502)' });
    const dead = gateway(() => Promise.reject(new TypeError('network')));
    await expect(dead.client.start(request, signal)).rejects.toMatchObject({ status: 0, message: 'the gateway does not answer' });
  });
  it('ends its own job, and only leaves one that others watch', async () => {
    const { client, calls } = gateway(() => reply(200, {}));
    await client.release({ id: 'a/b', shared: false });
    await client.release({ id: 'c', shared: true });
    expect(calls.map((call) => [call.init.method, call.url, call.init.keepalive])).toEqual([
      ['DELETE', 'http://gw/api/transcode/a%2Fb', true],
      ['POST', 'http://gw/api/transcode/c/leave?session_id=visit', true],
    ]);
  });
  it('lists folders and drops what is no entry', async () => {
    const { client, calls } = gateway(() =>
      reply(200, { path: '/f', entries: [{ name: 'a', path: '/f/a', is_dir: true }, { name: 'b', path: '/f/b', size_bytes: 5 }, 7] }),
    );
    expect(await client.files('/f & g', signal)).toEqual({
      path: '/f',
      entries: [
        { name: 'a', path: '/f/a', isDir: true, sizeBytes: null },
        { name: 'b', path: '/f/b', isDir: false, sizeBytes: 5 },
      ],
    });
    expect(calls[0]?.url).toBe('http://gw/api/v2/files?path=%2Ff+%26+g');
  });
});
