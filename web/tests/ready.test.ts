import { describe, expect, it } from 'vitest';
import { readJob, type Job } from '../src/client';
import { lengthSoFar, readyAhead, readyShare, readyStretches } from '../src/ready';

const job = (extra: object): Job => readJob({ job_id: 'a', status: 'processing', progress: 10, duration: 100, ...extra });
const mapped = job({ segments: { total: 5, ready: [[3, 3], [0, 0], [1, 1]] } });

describe('what is ready', () => {
  it('is joined and in order', () => {
    expect(readyStretches(mapped, [])).toEqual([
      { from: 0, to: 40 },
      { from: 60, to: 80 },
    ]);
  });
  it('follows the playlist where it fits the map', () => {
    expect(readyStretches(mapped, [0, 1, 2, 4, 8])).toEqual([
      { from: 0, to: 2 },
      { from: 4, to: 8 },
    ]);
    expect(readyShare(mapped, [0, 1, 2, 4, 8])).toBeCloseTo(0.06);
    // The last segment ends with the film.
    expect(readyStretches(job({ segments: { total: 2, ready: [[1, 1]] } }), [0, 90])).toEqual([{ from: 90, to: 100 }]);
  });
  it('falls back on the progress, and on the state', () => {
    expect(readyShare(job({}), [])).toBeCloseTo(0.1);
    expect(readyShare(job({ status: 'ready' }), [])).toBe(1);
    expect(readyStretches(job({ status: 'ready' }), [])).toEqual([{ from: 0, to: 100 }]);
    expect(readyStretches(job({ duration: 0, segments: { total: 2, ready: [[0, 0]] } }), [])).toEqual([]);
  });
  it('is all that a live source has sent so far', () => {
    const live = (made: number): Job => job({ duration: null, phase: 'live', current_time: made, segments: { total: null, ready: [[0, 2]] } });
    expect(lengthSoFar(live(12))).toBe(12);
    expect(readyStretches(live(12), [0, 4, 8])).toEqual([{ from: 0, to: 12 }]);
    expect(lengthSoFar(live(0))).toBeNull();
    expect(readyStretches(live(0), [])).toEqual([]);
    expect(lengthSoFar(mapped)).toBe(100);
  });
  it('says how far playing can go', () => {
    expect(readyAhead(mapped, [], 10)).toBe(30);
    expect(readyAhead(mapped, [], 40)).toBe(0);
    expect(readyAhead(mapped, [], 59.97)).toBeCloseTo(20.03);
    expect(readyAhead(job({}), [], 0)).toBeNull();
  });
});
