import { useEffect, useRef, useState } from 'preact/hooks';
import type { QueueJob, StreamSummary } from '../client';
import { JobDetails } from '../components/JobDetails';
import { type JobActions, JobRow } from '../components/JobRow';
import { Progress } from '../components/Progress';
import { VirtualList } from '../components/VirtualList';
import { PlusIcon, StopIcon, WatchIcon } from '../components/icons';
import { percent, sourceName, span, speed } from '../format';
import type { Live } from '../live';
import { type QueueFilter, TABS, type Tab, countOf, jobName, kindName, statesOf, withChanges, withPage } from '../queue';
import { asSentence } from '../sentence';
import { reasonOf, useAnswer, useShared } from '../shared';

interface Props {
  readonly events: Live;
  /** Asks for a file to be made. */
  readonly onMake: () => void;
}

/** Jobs of one page. */
const PAGE = 200;

/** All queued work of all protocols, and what is played. */
export function Jobs({ events, onMake }: Props) {
  const { gateway, live, say } = useShared();
  const [tab, setTab] = useState<Tab>('all');
  const [kind, setKind] = useState('');
  const [opened, setOpened] = useState<string | null>(null);
  const counts = useAnswer((signal) => gateway.counts(signal), [], 3000);
  const queue = useQueue(events, tab, kind);
  const now = Date.now();

  const done = async (what: Promise<QueueJob>, words: string): Promise<void> => {
    try {
      queue.put(await what);
      counts.again();
      say(words);
    } catch (error) {
      say(asSentence(reasonOf(error)), true);
    }
  };
  const act: JobActions = {
    cancel: (job) => void done(gateway.cancelJob(job.id), `${jobName(job)} was cancelled.`),
    retry: (job) => void done(gateway.retryJob(job.id), `${jobName(job)} is tried again.`),
    prioritise: (job, priority) => void done(gateway.prioritise(job.id, priority), `${jobName(job)} now has priority ${priority}.`),
  };
  const kinds = [...new Set((counts.value?.counts ?? []).map((c) => c.kind))];
  const filter = kind === '' ? [] : [kind];
  const total = Math.max(countOf(counts.value, tab, filter), queue.jobs.length);
  const shown = queue.jobs.find((job) => job.id === opened);

  return (
    <div class="page">
      <header class="page-head">
        <h1 tabIndex={-1}>Jobs</h1>
        <button type="button" class="button" onClick={onMake}>
          <PlusIcon />
          Make a file
        </button>
      </header>

      {live.streams.length > 0 && (
        <section aria-labelledby="playing-title">
          <h2 id="playing-title">Streams</h2>
          <ul class="streams">
            {live.streams.map((stream) => (
              <StreamCard key={stream.job_id} stream={stream} />
            ))}
          </ul>
        </section>
      )}

      <section aria-labelledby="queue-title">
        <div class="section-head">
          <h2 id="queue-title">Queue</h2>
          <div class="tabs" role="group" aria-label="Show">
            {TABS.map(([id, words]) => (
              <button key={id} type="button" class="tab" aria-pressed={id === tab} onClick={() => setTab(id)}>
                {words} <span class="tab-count">{countOf(counts.value, id, filter)}</span>
              </button>
            ))}
          </div>
          {kinds.length > 1 && (
            <div class="field field-inline">
              <label for="kind" class="sr">
                Kind
              </label>
              <select id="kind" value={kind} onChange={(event) => setKind(event.currentTarget.value)}>
                <option value="">All kinds</option>
                {kinds.map((name) => (
                  <option key={name} value={name}>
                    {kindName(name)}
                  </option>
                ))}
              </select>
            </div>
          )}
        </div>
        {queue.error !== null && (
          <p class="note note-bad" role="alert">
            {asSentence(queue.error)}
          </p>
        )}
        {queue.whole && queue.jobs.length === 0 ? (
          <div class="empty">
            <p>{tab === 'all' ? 'Nothing was queued yet.' : 'There is nothing of this kind.'}</p>
            {tab === 'all' && <p class="hint">Files to be made, work for engines and runners, and scenes all stand here.</p>}
          </div>
        ) : (
          <VirtualList
            label="Queued jobs"
            items={queue.jobs}
            keyOf={(job) => job.id}
            total={total}
            onEnd={queue.more}
            row={(job) => <JobRow job={job} file={live.files.get(job.id)} now={now} act={act} onOpen={() => setOpened(job.id)} />}
          />
        )}
      </section>
      {shown !== undefined && (
        <JobDetails key={shown.id} job={shown} file={live.files.get(shown.id)} now={now} act={act} onClose={() => setOpened(null)} />
      )}
    </div>
  );
}

interface Queue {
  readonly jobs: readonly QueueJob[];
  /** All pages are there. */
  readonly whole: boolean;
  readonly error: string | null;
  readonly more: () => void;
  readonly put: (job: QueueJob) => void;
}

/** The pages that were scrolled to, kept up to date by what the gateway tells. */
function useQueue(events: Live, tab: Tab, kind: string): Queue {
  const { gateway, keyed, onLocked } = useShared();
  const [state, setState] = useState<{ jobs: readonly QueueJob[]; next: string | null; whole: boolean; error: string | null }>({
    jobs: [],
    next: null,
    whole: false,
    error: null,
  });
  const [turn, setTurn] = useState(0);
  const busy = useRef(false);
  const reading = useRef(new AbortController());
  const filter: QueueFilter = { states: statesOf(tab), kinds: kind === '' ? [] : [kind] };
  const current = useRef(filter);
  current.current = filter;

  const load = async (after: string | null, signal: AbortSignal): Promise<void> => {
    busy.current = true;
    try {
      const page = await gateway.jobs({ ...current.current, limit: PAGE, after }, signal);
      if (signal.aborted) return;
      setState((before) => ({
        jobs: after === null ? page.jobs : withPage(before.jobs, page.jobs),
        next: page.next,
        whole: page.next === null,
        error: null,
      }));
    } catch (error) {
      if (signal.aborted) return;
      onLocked401(error, onLocked);
      setState((before) => ({ ...before, error: reasonOf(error) }));
    } finally {
      if (!signal.aborted) busy.current = false;
    }
  };

  useEffect(() => {
    reading.current = new AbortController();
    void load(null, reading.current.signal);
    return () => reading.current.abort();
  }, [tab, kind, keyed, turn]);

  useEffect(
    () =>
      events.onJobs((changed) => {
        if (changed === null) return setTurn((n) => n + 1);
        setState((before) => ({ ...before, jobs: withChanges(before.jobs, changed, current.current) }));
      }),
    [],
  );

  return {
    ...state,
    more: () => {
      if (!busy.current && state.next !== null) void load(state.next, reading.current.signal);
    },
    put: (job) => setState((before) => ({ ...before, jobs: withChanges(before.jobs, [job], current.current) })),
  };
}

function onLocked401(error: unknown, onLocked: () => void): void {
  if (typeof error === 'object' && error !== null && 'status' in error && error.status === 401) onLocked();
}

/** A stream that somebody plays. */
function StreamCard({ stream }: { readonly stream: StreamSummary }) {
  const { gateway, say } = useShared();
  const name = sourceName(stream.source);
  const over = stream.state === 'error' || stream.state === 'cancelled';
  const stop = async (): Promise<void> => {
    try {
      await gateway.stopStream(stream.job_id);
      say(`${name} was stopped.`);
    } catch (error) {
      say(asSentence(reasonOf(error)), true);
    }
  };
  const words = [
    stream.phase,
    stream.speed > 0 ? `${speed(stream.speed)} real time` : null,
    stream.encoders > 0 ? `${stream.encoders} ${stream.encoders === 1 ? 'encoder' : 'encoders'}` : null,
    stream.encoded_by,
    stream.viewers > 1 ? `${stream.viewers} viewers` : null,
    // Who gave no name is counted among the viewers only.
    stream.client?.startsWith('session:') === true ? null : stream.client,
  ];
  return (
    <li class="stream" data-state={stream.state}>
      <div class="stream-text">
        <strong>{name}</strong>
        <span class="job-facts">{words.filter((word) => word !== null).join(' · ')}</span>
        {stream.error !== null && <span class="stream-error">{asSentence(stream.error)}</span>}
      </div>
      {!over && (
        <div class="stream-progress">
          <Progress percent={stream.phase === 'live' ? null : stream.progress} label={`Ready of ${name}`} tone={stream.state === 'ready' ? 'good' : 'live'} />
          <span class="job-percent">
            {stream.phase === 'live' ? 'live' : `${percent(stream.progress / 100)}${stream.duration === null ? '' : ` of ${span(stream.duration)}`}`}
          </span>
        </div>
      )}
      <div class="job-actions">
        {!over && (
          <a class="control" href={`?job=${encodeURIComponent(stream.job_id)}`} title="Watch it">
            <WatchIcon />
            <span class="sr">Watch {name}</span>
          </a>
        )}
        <button type="button" class="control" title="Stop it" onClick={() => void stop()}>
          <StopIcon />
          <span class="sr">Stop {name}</span>
        </button>
      </div>
    </li>
  );
}
