import { useState } from 'preact/hooks';
import { sameOrigin } from '../address';
import type { FileProgress, QueueJob } from '../client';
import { fileSize, moment } from '../format';
import { canCancel, canRetry, errorWords, jobName, kindName, percentOf, stateName } from '../queue';
import { useShared } from '../shared';
import { Dialog } from './Dialog';
import { type JobActions, jobWords } from './JobRow';
import { Progress } from './Progress';

interface Props {
  readonly job: QueueJob;
  readonly file: FileProgress | undefined;
  readonly now: number;
  readonly act: JobActions;
  readonly onClose: () => void;
}

/** All that is known of a job, and what can be done with it. */
export function JobDetails({ job, file, now, act, onClose }: Props) {
  const { base } = useShared();
  const [priority, setPriority] = useState(String(job.priority));
  const error = errorWords(job.error);
  const facts: ReadonlyArray<readonly [string, string | null]> = [
    ['State', `${stateName(job.state)}${jobWords(job, file, now) === '' ? '' : ` · ${jobWords(job, file, now)}`}`],
    ['Kind', `${kindName(job.kind)}${job.requires ? ` · ${job.requires}` : ''}`],
    ['Source', job.source],
    ['Worker', job.worker],
    ['Attempts', `${job.attempts} begun, ${job.failures} failed of at most ${job.max_failures}`],
    ['Lease until', job.lease_expires_at === null ? null : moment(job.lease_expires_at)],
    ['Waits for', job.parents.length === 0 ? null : job.parents.join(', ')],
    ['Encoded by', file?.encoded_by ?? null],
    ['Size', job.output?.size_bytes == null ? null : fileSize(job.output.size_bytes)],
    ['SHA-256', job.output?.sha256 ?? null],
    ['Notes', job.output === null || job.output.notes.length === 0 ? null : job.output.notes.join('; ')],
    ['Came', moment(job.created_at)],
    ['Last change', moment(job.updated_at)],
    ['Id', job.id],
  ];
  return (
    <Dialog title={jobName(job)} onClose={onClose}>
      {job.state === 'leased' && <Progress percent={percentOf(job, file)} label="Progress" />}
      {error !== null && <p class="note note-bad">{error}</p>}
      <dl class="facts-list">
        {facts
          .filter(([, value]) => value !== null && value !== '')
          .map(([name, value]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </div>
          ))}
      </dl>
      <div class="actions">
        {canCancel(job) && (
          <form
            class="field field-inline"
            onSubmit={(event) => {
              event.preventDefault();
              if (/^-?\d+$/.test(priority.trim())) act.prioritise(job, Number(priority));
            }}
          >
            <label for="priority">Priority</label>
            <input
              id="priority"
              type="number"
              step="1"
              value={priority}
              title="Higher comes first; 0 is usual"
              onInput={(event) => setPriority(event.currentTarget.value)}
            />
            <button type="submit" class="button">
              Set
            </button>
          </form>
        )}
        <span class="stretch" />
        {job.output?.url != null && (
          <a class="button" href={sameOrigin(job.output.url, base)} download>
            Download
          </a>
        )}
        {canRetry(job) && (
          <button type="button" class="button" onClick={() => act.retry(job)}>
            Try again
          </button>
        )}
        {canCancel(job) && (
          <button type="button" class="button button-bad" onClick={() => act.cancel(job)}>
            Cancel the job
          </button>
        )}
      </div>
    </Dialog>
  );
}
