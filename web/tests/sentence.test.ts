import { describe, expect, it, vi } from 'vitest';
import { readJob } from '../src/client';
import { NO_PLAYER, networkWords, retryDelayMs, type PlayerView } from '../src/player';
import { sentence } from '../src/sentence';
import type { SessionView } from '../src/session';

vi.mock('hls.js/dist/hls.worker.js?url', () => ({ default: 'worker.js' }));

const job = (extra: object, contact: 'good' | 'lost' | 'gone' = 'good'): SessionView => ({
  kind: 'job',
  contact,
  job: readJob({ job_id: 'a', status: 'processing', progress: 0, duration: 3600, stream_url: '/s', ...extra }),
});
const say = (view: SessionView, player: Partial<PlayerView> = {}): string => sentence(view, { ...NO_PLAYER, ...player }).text;
const playing = { firstPictureMs: 800 };

describe('the sentence under the player', () => {
  it('follows the phases', () => {
    expect(say({ kind: 'starting' })).toBe('Asking the gateway…');
    expect(say(job({ status: 'queued' }))).toBe('Waiting for a free encoder…');
    expect(say(job({ phase: 'probing' }))).toBe('Probing the source…');
    expect(say(job({ phase: 'starting' }))).toBe('Starting the encoder…');
    expect(say(job({ phase: 'encoding', speed: 2.31, progress: 14.6 }))).toBe(
      'Encoding at 2.3x real time, 14 % of the film is ready',
    );
    expect(say(job({ phase: 'idle', progress: 14 }))).toBe('Nothing needs encoding now, 14 % of the film is ready');
    expect(say(job({ status: 'ready', progress: 100 }))).toBe('All of the film is ready');
  });
  it('says how much is ready ahead of the playing position when paused', () => {
    const paused = job({ phase: 'paused', duration: 400, segments: { total: 100, ready: [[0, 9]] } });
    expect(say(paused, { position: 10 })).toBe('Paused: 30 s are ready ahead');
    expect(say(job({ phase: 'paused', progress: 20 }))).toBe('Paused: 20 % of the film is ready');
  });
  it('tells of a live source how much of it there is so far', () => {
    const live = { phase: 'live', duration: null, current_time: 83.4, progress: 0, segments: { total: null, ready: [[0, 20]] } };
    expect(say(job(live))).toBe('Live: 1:23 so far');
    expect(say(job(live), { ...playing, stalledAt: 83 })).toBe('Waiting for the source at 1:23…');
  });
  it('says why there is no sound', () => {
    const encoding = job({ phase: 'encoding', progress: 5 });
    expect(say(encoding, { ...playing, silenced: true })).toContain('without sound');
    expect(say(encoding, { ...playing, silenced: true, seekingTo: 5 })).toBe('Seeking to 0:05…');
  });
  it('works with a gateway that reports no phase', () => {
    expect(say(job({}))).toBe('Starting the encoder…');
    expect(say(job({ progress: 14 }))).toBe('Encoding, 14 % of the film is ready');
  });
  it('puts the player before the phase', () => {
    const encoding = job({ phase: 'encoding', progress: 5 });
    expect(say(encoding, { ...playing, seekingTo: 3723.4 })).toBe('Seeking to 1:02:03…');
    expect(say(encoding, { ...playing, stalledAt: 65 })).toBe('Waiting for the encoder at 1:05…');
    expect(say(encoding, { stalledAt: 0 })).toBe('Encoding, 5 % of the film is ready');
    expect(say(encoding, { blocked: true })).toBe('Ready. Press play in the player.');
    expect(say(encoding, { trouble: { words: 'the source broke off', fatal: false, codec: false } })).toBe(
      'The source broke off. Trying again…',
    );
    expect(say(encoding, { trouble: { words: 'this browser gave up decoding the film', fatal: true, codec: true } })).toBe(
      'This browser gave up decoding the film.',
    );
  });
  it('says why something cannot be played', () => {
    expect(say(job({ status: 'error', error_message: 'connection refused' }))).toBe(
      'This cannot be played: connection refused.',
    );
    expect(say({ kind: 'refused', status: 400, reason: 'Source URL is required' })).toBe(
      'This cannot be played: Source URL is required.',
    );
    expect(say({ kind: 'refused', status: 0, reason: 'x' })).toContain('does not answer');
    expect(say({ kind: 'refused', status: 401, reason: 'x' })).toContain('API key');
    expect(say(job({}, 'gone'))).toContain('no longer has this job');
    expect(say(job({}, 'lost'))).toContain('does not answer');
    expect(say(job({ status: 'cancelled' }))).toContain('cancelled');
    expect(say(job({ status: 'ready', stream_url: null }))).toContain('no stream');
  });
  it('keeps its key while only figures change', () => {
    const key = (view: SessionView): string => sentence(view, NO_PLAYER).key;
    expect(key(job({ phase: 'encoding', progress: 5 }))).toBe(key(job({ phase: 'encoding', progress: 50, speed: 3 })));
    expect(key(job({ phase: 'encoding', progress: 5 }))).not.toBe(key(job({ phase: 'paused', progress: 5 })));
  });
});

describe('network trouble', () => {
  it('is retried with growing waits, unless the answer is final', () => {
    expect([0, 1, 2, 5].map((attempt) => retryDelayMs(502, attempt))).toEqual([1000, 2000, 4000, 15000]);
    expect(retryDelayMs(0, 0)).toBe(1000);
    expect(retryDelayMs(null, 0)).toBe(1000);
    expect(retryDelayMs(429, 0)).toBe(1000);
    expect(retryDelayMs(404, 0)).toBeNull();
    expect(retryDelayMs(502, 8)).toBeNull();
  });
  it('is told in the words of the gateway first', () => {
    expect(networkWords(502, 'the source broke off', false)).toBe('the source broke off');
    expect(networkWords(null, null, true)).toBe('the gateway needs longer than usual');
    expect(networkWords(0, null, false)).toBe('the gateway does not answer');
    expect(networkWords(503, null, false)).toContain('busy');
  });
});
