import { describe, expect, it } from 'vitest';
import type { QueueJob, QueueState } from '../src/client';
import { countOf, errorWords, kindName, percentOf, rowsInSight, statesOf, withChanges, withPage } from '../src/queue';

const job = (id: string, state: QueueState = 'ready', created = 0): QueueJob => ({
  id,
  kind: 'batch',
  state,
  source: `${id}.mkv`,
  requires: 'h264',
  priority: 0,
  parents: [],
  attempts: 0,
  failures: 0,
  max_failures: 3,
  worker: null,
  lease_expires_at: null,
  progress: null,
  output: null,
  error: null,
  created_at: new Date(1_000_000 + created * 1000).toISOString(),
  updated_at: null,
});
const ids = (jobs: readonly QueueJob[]): string => jobs.map((one) => `${one.id}:${one.state}`).join(' ');
const ALL = { states: [], kinds: [] };

describe('the list of jobs', () => {
  it('takes a page without what came as news meanwhile', () => {
    const list = withPage([job('c'), job('b')], [job('b'), job('a')]);
    expect(list.map((one) => one.id)).toEqual(['c', 'b', 'a']);
  });
  it('changes jobs in their places and puts new ones first', () => {
    const list = [job('b', 'ready', 2), job('a', 'ready', 1)];
    expect(ids(withChanges(list, [job('a', 'leased', 1), job('c', 'ready', 3), job('d', 'ready', 4)], ALL))).toBe(
      'd:ready c:ready b:ready a:leased',
    );
  });
  it('leaves an old job that it does not have for its page', () => {
    expect(ids(withChanges([job('b', 'ready', 2)], [job('a', 'done', 1)], ALL))).toBe('b:ready');
  });
  it('drops what no longer belongs', () => {
    const open = { states: statesOf('open'), kinds: [] };
    expect(ids(withChanges([job('b', 'ready', 2), job('a', 'leased', 1)], [job('a', 'done', 1)], open))).toBe('b:ready');
    expect(ids(withChanges([], [{ ...job('x'), kind: 'transcode' }], { states: [], kinds: ['batch'] }))).toBe('');
  });
  it('counts what a tab has', () => {
    const counts = {
      counts: [
        { kind: 'batch' as const, state: 'done' as const, jobs: 3 },
        { kind: 'batch' as const, state: 'leased' as const, jobs: 2 },
        { kind: 'transcode' as const, state: 'ready' as const, jobs: 5 },
      ],
    };
    expect(countOf(counts, 'all', [])).toBe(10);
    expect(countOf(counts, 'open', [])).toBe(7);
    expect(countOf(counts, 'open', ['batch'])).toBe(2);
    expect(countOf(null, 'all', [])).toBe(0);
  });
});

describe('a job', () => {
  it('shows how far it is, by who knows best', () => {
    const leased = { ...job('a', 'leased'), progress: { percent: 10, message: '' } };
    const file = { id: 'a', percent: 12.5, speed: 1, eta_seconds: 3, phase: 'encoding', encoded_by: null };
    expect(percentOf(leased, undefined)).toBe(10);
    expect(percentOf(leased, file)).toBe(12.5);
    expect(percentOf(job('a', 'leased'), undefined)).toBeNull();
    expect(percentOf(job('a', 'done'), file)).toBe(100);
  });
  it('says what went wrong, whatever a worker sent', () => {
    expect(errorWords('no space')).toBe('no space');
    expect(errorWords({ code: 3, message: 'no space' })).toBe('no space');
    expect(errorWords([1])).toBe('[1]');
    expect(errorWords(null)).toBeNull();
  });
  it('has a kind in words, also one that is not known', () => {
    expect(kindName('batch')).toBe('File');
    expect(kindName('vod-hls-transcoding')).toBe('Vod hls transcoding');
  });
});

describe('the rows in sight', () => {
  it('are few, wherever one has scrolled to', () => {
    for (const top of [-500, 0, 12_345, 680_000 - 900, 1e9]) {
      const [first, last] = rowsInSight(10_000, 68, top, 900);
      expect(first).toBeGreaterThanOrEqual(0);
      expect(last).toBeLessThanOrEqual(10_000);
      expect(last - first).toBeLessThan(30);
    }
    expect(rowsInSight(10_000, 68, 6800, 680)).toEqual([94, 116]);
    expect(rowsInSight(0, 68, 0, 900)).toEqual([0, 0]);
  });
});
