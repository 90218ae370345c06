/** What the gateway tells of by itself: streams, jobs that changed, files being made. */
import { ApiError, type FileProgress, type Gateway, type QueueJob, type ServerEvent, type StreamSummary } from './client';

export type Contact = 'asking' | 'good' | 'lost' | 'locked';

export interface LiveView {
  readonly contact: Contact;
  readonly streams: readonly StreamSummary[];
  readonly files: ReadonlyMap<string, FileProgress>;
}

export const NO_LIVE: LiveView = { contact: 'asking', streams: [], files: new Map() };

/** Who shows jobs hears of each that changed; `null`: too many did, the list is to be asked for anew. */
export type JobsListener = (jobs: readonly QueueJob[] | null) => void;

const AGAIN_MS = 2000;

/** Keeps one connection open as long as the page is. */
export class Live {
  #view: LiveView = NO_LIVE;
  #ended = new AbortController();
  readonly #listeners = new Set<JobsListener>();

  constructor(
    private readonly gateway: Pick<Gateway, 'events'>,
    private readonly changed: (view: LiveView) => void,
    private readonly againMs: number = AGAIN_MS,
  ) {}

  onJobs(listener: JobsListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Connects, or connects anew. */
  start(): void {
    this.stop();
    this.#ended = new AbortController();
    void this.#run(this.#ended.signal);
  }

  stop(): void {
    this.#ended.abort();
  }

  async #run(ended: AbortSignal): Promise<void> {
    let first = true;
    while (!ended.aborted) {
      try {
        await this.gateway.events((event) => {
          if (ended.aborted) return;
          // Jobs that changed while there was no connection were not told.
          if (this.#view.contact !== 'good' && !first) this.#tell(null);
          first = false;
          this.#hear(event);
        }, ended);
      } catch (error) {
        if (ended.aborted) return;
        if (error instanceof ApiError && error.status === 401) {
          this.#show({ contact: 'locked' });
          return;
        }
      }
      if (ended.aborted) return;
      this.#show({ contact: 'lost' });
      await new Promise((resolve) => setTimeout(resolve, this.againMs));
    }
  }

  #hear(event: ServerEvent): void {
    switch (event.kind) {
      case 'streams':
        return this.#show({ contact: 'good', streams: event.streams });
      case 'progress':
        return this.#show({ contact: 'good', files: new Map(event.jobs.map((file) => [file.id, file])) });
      case 'jobs':
        this.#show({ contact: 'good' });
        return this.#tell(event.jobs);
      case 'missed':
        this.#show({ contact: 'good' });
        return this.#tell(null);
    }
  }

  #tell(jobs: readonly QueueJob[] | null): void {
    for (const listener of this.#listeners) listener(jobs);
  }

  #show(change: Partial<LiveView>): void {
    this.#view = { ...this.#view, ...change };
    this.changed(this.#view);
  }
}
