/** Which part of the film is ready: the map, the share, the time ahead. Pure. */
import type { Job, SegmentMap } from './client';

/** A stretch of the film, in seconds. */
export interface Stretch {
  readonly from: number;
  readonly to: number;
}

/**
 * The time at which each segment starts, and the film's end as last element.
 * `starts` is what the playlist says; where it does not fit the map (not loaded
 * yet), segments are taken as equally long.
 */
function boundaries(map: SegmentMap, starts: readonly number[], duration: number): (segment: number) => number {
  if (starts.length === map.total) return (n) => (n >= map.total ? duration : (starts[n] ?? duration));
  return (n) => (n / map.total) * duration;
}

/** How long the film is; of a live one, how long it is so far. Null while that is not known. */
export function lengthSoFar(job: Job): number | null {
  if (job.durationSeconds !== null) return job.durationSeconds;
  return job.phase === 'live' && job.madeSeconds > 0 ? job.madeSeconds : null;
}

/** The ready stretches in order, neighbours joined. Empty when nothing is known. */
export function readyStretches(job: Job, starts: readonly number[]): Stretch[] {
  const duration = lengthSoFar(job);
  if (duration === null) return [];
  if (job.phase === 'live') return [{ from: 0, to: duration }];
  if (job.state === 'ready' && job.segments === null) return [{ from: 0, to: duration }];
  const map = job.segments;
  if (map === null) return [];
  const at = boundaries(map, starts, duration);
  const joined: Array<[number, number]> = [];
  for (const [first, last] of [...map.ready].sort((a, b) => a[0] - b[0])) {
    const before = joined[joined.length - 1];
    if (before !== undefined && first <= before[1] + 1) before[1] = Math.max(before[1], last);
    else joined.push([first, last]);
  }
  return joined.map(([first, last]) => ({ from: at(first), to: at(last + 1) }));
}

/** The share of the film that is ready, 0..1. */
export function readyShare(job: Job, starts: readonly number[]): number {
  const duration = job.durationSeconds;
  if (job.segments === null || duration === null) return job.state === 'ready' ? 1 : job.progress / 100;
  const seconds = readyStretches(job, starts).reduce((sum, part) => sum + part.to - part.from, 0);
  return Math.min(1, seconds / duration);
}

/** Seconds that are ready from `position` on without a gap; null when unknown. */
export function readyAhead(job: Job, starts: readonly number[], position: number): number | null {
  if (job.segments === null || job.durationSeconds === null) return null;
  // A position on a boundary belongs to the stretch that begins there.
  const here = readyStretches(job, starts).find((part) => position >= part.from - 0.05 && position < part.to);
  return here === undefined ? 0 : here.to - position;
}
