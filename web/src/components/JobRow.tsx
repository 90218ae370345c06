import { sameOrigin } from '../address';
import type { FileProgress, QueueJob } from '../client';
import { ago, fileSize, span, speed } from '../format';
import { canCancel, canRetry, errorWords, jobName, kindName, percentOf, stateName } from '../queue';
import { useShared } from '../shared';
import { CloseIcon, DownloadIcon, RetryIcon, UpIcon } from './icons';
import { Progress } from './Progress';

interface Props {
  readonly job: QueueJob;
  readonly file: FileProgress | undefined;
  readonly now: number;
  readonly onOpen: () => void;
  readonly act: JobActions;
}

export interface JobActions {
  readonly cancel: (job: QueueJob) => void;
  readonly retry: (job: QueueJob) => void;
  readonly prioritise: (job: QueueJob, priority: number) => void;
}

/** How it goes, in a few words. */
export function jobWords(job: QueueJob, file: FileProgress | undefined, now: number): string {
  if (job.state === 'leased' && file !== undefined) {
    const parts = [file.speed > 0 ? `${speed(file.speed)} real time` : file.phase];
    if (file.eta_seconds !== null && file.speed > 0) parts.push(`${span(file.eta_seconds)} left`);
    return parts.join(' · ');
  }
  if (job.state === 'leased') return job.progress?.message || (job.worker !== null ? `with ${job.worker}` : '');
  if (job.state === 'done' && job.output?.size_bytes != null) return fileSize(job.output.size_bytes);
  if (job.state === 'failed') return errorWords(job.error) ?? '';
  if (job.state === 'ready' && job.failures > 0) return errorWords(job.error) ?? '';
  return job.updated_at === null ? '' : ago(now - Date.parse(job.updated_at));
}

/** One job of the queue. */
export function JobRow({ job, file, now, onOpen, act }: Props) {
  const { base } = useShared();
  const percent = percentOf(job, file);
  const name = jobName(job);
  const tried = job.attempts > 1 || job.failures > 0 ? `attempt ${job.attempts}${job.failures > 0 ? ` of ${job.max_failures}` : ''}` : null;
  const facts = [kindName(job.kind), job.requires, tried, job.priority !== 0 ? `priority ${job.priority}` : null];
  return (
    <article class="job" data-state={job.state}>
      <button type="button" class="job-name" data-focus onClick={onOpen}>
        <span class="job-title">{name}</span>
        <span class="job-facts">{facts.filter((fact) => fact !== null && fact !== '').join(' · ')}</span>
      </button>
      <div class="job-state">
        <span class="pill" data-state={job.state}>
          {stateName(job.state)}
        </span>
        <span class="job-words" title={jobWords(job, file, now)}>
          {jobWords(job, file, now)}
        </span>
      </div>
      <div class="job-progress">
        {job.state === 'leased' ? (
          <>
            <Progress percent={percent} label={`Progress of ${name}`} />
            <span class="job-percent">{percent === null ? '' : `${Math.floor(percent)} %`}</span>
          </>
        ) : null}
      </div>
      <div class="job-actions">
        {job.state === 'ready' && (
          <button type="button" class="control" title="Sooner" onClick={() => act.prioritise(job, job.priority + 1)}>
            <UpIcon />
            <span class="sr">Do {name} sooner</span>
          </button>
        )}
        {job.output?.url != null && (
          <a class="control" href={sameOrigin(job.output.url, base)} download title="Download">
            <DownloadIcon />
            <span class="sr">Download {name}</span>
          </a>
        )}
        {canRetry(job) && (
          <button type="button" class="control" title="Try again" onClick={() => act.retry(job)}>
            <RetryIcon />
            <span class="sr">Try {name} again</span>
          </button>
        )}
        {canCancel(job) && (
          <button type="button" class="control" title="Cancel" onClick={() => act.cancel(job)}>
            <CloseIcon />
            <span class="sr">Cancel {name}</span>
          </button>
        )}
      </div>
    </article>
  );
}
