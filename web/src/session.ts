/** One job at a time: starts it, follows it, gives it back. */
import { ApiError, type Gateway, type Job, type PlayRequest } from './client';

export type SessionView =
  | { readonly kind: 'none' }
  /** The browser kept the page while the user was elsewhere; its job is gone. */
  | { readonly kind: 'parted' }
  | { readonly kind: 'starting' }
  | { readonly kind: 'opening' }
  | { readonly kind: 'refused'; readonly status: number; readonly reason: string }
  | { readonly kind: 'job'; readonly job: Job; readonly contact: 'good' | 'lost' | 'gone' };

export interface Timing {
  /** Between two questions about a job that is at work. */
  readonly pollMs: number;
  /** Between two questions about a job that is finished, or after an unanswered one. */
  readonly slowPollMs: number;
  /** How long a new start waits for the former job to be given back. */
  readonly releaseMs: number;
}

const TIMING: Timing = { pollMs: 1000, slowPollMs: 5000, releaseMs: 2000 };

/** One unanswered question is not shown: a busy machine may miss one. */
const LOST_AFTER = 2;

const NO_JOB: Job = {
  id: '',
  state: 'ready',
  progress: 100,
  durationSeconds: null,
  madeSeconds: 0,
  source: null,
  streamUrl: null,
  error: null,
  speed: null,
  phase: 'ready',
  segments: null,
  warnings: [],
  shared: false,
};

export class JobSession {
  #view: SessionView = { kind: 'none' };
  /** The job this page started and therefore ends. */
  #owned: Job | null = null;
  /** Ends what belongs to the former play. */
  #turn = new AbortController();

  constructor(
    private readonly gateway: Gateway,
    private readonly changed: (view: SessionView) => void,
    private readonly timing: Timing = TIMING,
  ) {}

  get view(): SessionView {
    return this.#view;
  }

  /** Plays a source: gives the former job back, then starts and follows a new one. */
  async play(request: PlayRequest): Promise<void> {
    const turn = this.#newTurn({ kind: 'starting' });
    // A start that came first could join the job that is about to end.
    await Promise.race([this.#releaseOwned(), pause(this.timing.releaseMs, turn)]);
    if (turn.aborted) return;
    try {
      // Not aborted by a newer play: the reply is needed to give the job back.
      const job = await this.gateway.start(request, new AbortController().signal);
      if (turn.aborted) {
        void this.gateway.release(job);
        return;
      }
      this.#owned = job;
      this.#show({ kind: 'job', job, contact: 'good' });
      await this.#follow(job, turn);
    } catch (error) {
      if (!turn.aborted) this.#show(refused(error));
    }
  }

  /** Follows a job somebody else started; it is not deleted afterwards. */
  async open(id: string): Promise<void> {
    const turn = this.#newTurn({ kind: 'opening' });
    void this.#releaseOwned();
    try {
      const job = await this.gateway.status(id, turn);
      if (turn.aborted) return;
      this.#show({ kind: 'job', job, contact: 'good' });
      await this.#follow(job, turn);
    } catch (error) {
      if (!turn.aborted) this.#show(refused(error));
    }
  }

  /** Plays what is there already, without a job. */
  playDone(streamUrl: string, durationSeconds: number | null): void {
    this.#newTurn({
      kind: 'job',
      contact: 'good',
      job: { ...NO_JOB, streamUrl, durationSeconds },
    });
    void this.#releaseOwned();
  }

  /** Others were told of the job: it is no longer ended with this page. */
  share(): void {
    this.#owned = null;
  }

  /** Stops what is playing and gives its job back. */
  stop(): void {
    this.#newTurn({ kind: 'none' });
    void this.#releaseOwned();
  }

  /** The page goes away, perhaps for ever: the job is given back at once. */
  leave(): void {
    if (this.#owned === null) return;
    this.#newTurn({ kind: 'parted' });
    void this.#releaseOwned();
  }

  async #follow(first: Job, turn: AbortSignal): Promise<void> {
    let job = first;
    let unanswered = 0;
    while (job.state !== 'error' && job.state !== 'cancelled') {
      const slow = job.state === 'ready' || unanswered > 0;
      await pause(slow ? this.timing.slowPollMs : this.timing.pollMs, turn);
      if (turn.aborted) return;
      try {
        job = await this.gateway.status(job.id, turn);
        if (turn.aborted) return;
        unanswered = 0;
        if (this.#owned?.id === job.id) this.#owned = job;
        this.#show({ kind: 'job', job, contact: 'good' });
      } catch (error) {
        if (turn.aborted) return;
        const status = error instanceof ApiError ? error.status : 0;
        if (status === 404) {
          this.#owned = null;
          this.#show({ kind: 'job', job, contact: 'gone' });
          return;
        }
        if (status === 401 || status === 403) throw error;
        unanswered += 1;
        if (unanswered >= LOST_AFTER) this.#show({ kind: 'job', job, contact: 'lost' });
      }
    }
  }

  #newTurn(view: SessionView): AbortSignal {
    this.#turn.abort();
    this.#turn = new AbortController();
    this.#show(view);
    return this.#turn.signal;
  }

  #releaseOwned(): Promise<void> {
    const job = this.#owned;
    this.#owned = null;
    return job === null ? Promise.resolve() : this.gateway.release(job);
  }

  #show(view: SessionView): void {
    this.#view = view;
    this.changed(view);
  }
}

function refused(error: unknown): SessionView {
  if (error instanceof ApiError) return { kind: 'refused', status: error.status, reason: error.message };
  return { kind: 'refused', status: -1, reason: error instanceof Error ? error.message : String(error) };
}

/** Waits, or returns at once when the turn ends. */
function pause(ms: number, turn: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (turn.aborted) {
      resolve();
      return;
    }
    const timer = setTimeout(done, ms);
    turn.addEventListener('abort', done, { once: true });
    function done(): void {
      clearTimeout(timer);
      turn.removeEventListener('abort', done);
      resolve();
    }
  });
}
