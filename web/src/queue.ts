/** The list of queued work as it is shown: pages, and what changes meanwhile. Pure. */
import type { FileProgress, QueueCounts, QueueJob, QueueState } from './client';
import { sourceName } from './format';

/** Which jobs are wanted; empty lists do not restrict. */
export interface QueueFilter {
  readonly states: readonly QueueState[];
  readonly kinds: readonly string[];
}

export type Tab = 'all' | 'open' | 'done' | 'failed';
export const TABS: ReadonlyArray<readonly [Tab, string, readonly QueueState[]]> = [
  ['all', 'All', []],
  ['open', 'In work', ['leased', 'ready', 'waiting']],
  ['done', 'Done', ['done']],
  ['failed', 'Failed', ['failed', 'cancelled']],
];

export function statesOf(tab: Tab): readonly QueueState[] {
  return TABS.find(([id]) => id === tab)?.[2] ?? [];
}

/** How many jobs a tab has. */
export function countOf(counts: QueueCounts | null, tab: Tab, kinds: readonly string[]): number {
  const states = statesOf(tab);
  return (counts?.counts ?? [])
    .filter((c) => states.length === 0 || states.includes(c.state))
    .filter((c) => kinds.length === 0 || kinds.includes(c.kind))
    .reduce((sum, c) => sum + c.jobs, 0);
}

export function wanted(filter: QueueFilter, job: QueueJob): boolean {
  return (
    (filter.states.length === 0 || filter.states.includes(job.state)) &&
    (filter.kinds.length === 0 || filter.kinds.includes(job.kind))
  );
}

/** Adds the next page; what came meanwhile as news is not there twice. */
export function withPage(jobs: readonly QueueJob[], page: readonly QueueJob[]): readonly QueueJob[] {
  const known = new Set(jobs.map((job) => job.id));
  return [...jobs, ...page.filter((job) => !known.has(job.id))];
}

/**
 * The list after `changed`: jobs that are in it are replaced, or leave it when they no longer belong;
 * new ones come first. A job of a page that is not loaded yet is left for that page.
 */
export function withChanges(jobs: readonly QueueJob[], changed: readonly QueueJob[], filter: QueueFilter): readonly QueueJob[] {
  if (changed.length === 0) return jobs;
  const news = new Map(changed.map((job) => [job.id, job]));
  const kept: QueueJob[] = [];
  for (const job of jobs) {
    const now = news.get(job.id);
    news.delete(job.id);
    if (now === undefined) kept.push(job);
    else if (wanted(filter, now)) kept.push(now);
  }
  const newest = jobs[0]?.created_at ?? '';
  const fresh = [...news.values()].filter((job) => wanted(filter, job) && (job.created_at ?? '') >= newest);
  fresh.sort((a, b) => (b.created_at ?? '').localeCompare(a.created_at ?? ''));
  return [...fresh, ...kept];
}

/** 0..100; null when nothing is known of it. */
export function percentOf(job: QueueJob, file: FileProgress | undefined): number | null {
  if (job.state === 'done') return 100;
  if (file !== undefined && job.state === 'leased') return file.percent;
  return job.progress === null ? null : job.progress.percent;
}

/** What a job is called: by its film, or by its id when it has none. */
export const jobName = (job: QueueJob): string => (job.source === null ? job.id : sourceName(job.source));

const KINDS: Readonly<Record<string, string>> = {
  batch: 'File',
  transcode: 'Transcode',
  scene: 'Scene',
  vod_hls: 'Video to HLS',
  vod_web_video: 'Web video',
  vod_audio_merge: 'Sound and picture',
  video_studio: 'Studio',
  live_rtmp_hls: 'Live',
  video_transcription: 'Transcription',
  video_storyboard: 'Storyboard',
};

/** The kind of a job in a word: known ones by their name, others as the gateway calls them. */
export function kindName(kind: string): string {
  const known = KINDS[kind];
  if (known !== undefined) return known;
  const words = kind.replace(/[_-]+/g, ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}

const STATES: Readonly<Record<QueueState, string>> = {
  waiting: 'Waiting for others',
  ready: 'In the queue',
  leased: 'At work',
  done: 'Done',
  failed: 'Failed',
  cancelled: 'Cancelled',
};

export const stateName = (state: QueueState): string => STATES[state];

/** What went wrong last, in words; workers may send any JSON. */
export function errorWords(error: unknown): string | null {
  if (error === null || error === undefined || error === '') return null;
  if (typeof error === 'string') return error;
  if (typeof error === 'object' && !Array.isArray(error)) {
    for (const name of ['message', 'error', 'reason', 'detail', 'stderr']) {
      const words = (error as Record<string, unknown>)[name];
      if (typeof words === 'string' && words !== '') return words;
    }
  }
  return JSON.stringify(error);
}

export const canCancel = (job: QueueJob): boolean => job.state === 'waiting' || job.state === 'ready' || job.state === 'leased';
export const canRetry = (job: QueueJob): boolean => job.state === 'failed' || job.state === 'cancelled';

/** The rows of a list of `count` that are in sight, with some before and after. */
export function rowsInSight(count: number, rowHeight: number, top: number, height: number, spare = 6): readonly [number, number] {
  const first = Math.max(0, Math.floor(top / rowHeight) - spare);
  const last = Math.min(count, Math.ceil((top + height) / rowHeight) + spare);
  return [Math.min(first, count), Math.max(last, Math.min(first, count))];
}
