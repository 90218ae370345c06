/** What all pages share: the gateway, its key, and what it tells of changes. */
import { createContext } from 'preact';
import { useContext, useEffect, useRef, useState } from 'preact/hooks';
import { ApiError, type Gateway } from './client';
import type { LiveView } from './live';

export interface Shared {
  readonly gateway: Gateway;
  /** Where the page lies, with a closing slash. */
  readonly base: string;
  readonly live: LiveView;
  /** Rises when another key is used: what was refused is asked again. */
  readonly keyed: number;
  /** The gateway wants a key, or another one. */
  readonly onLocked: () => void;
  /** Tells the visitor, and who cannot see it, what came of an action. */
  readonly say: (words: string, bad?: boolean) => void;
}

export const SharedContext = createContext<Shared | null>(null);

export function useShared(): Shared {
  const shared = useContext(SharedContext);
  if (shared === null) throw new Error('outside of the page');
  return shared;
}

/** What a question gave last; `error` is the reason when the last one failed. */
export interface Answer<T> {
  readonly value: T | null;
  readonly error: string | null;
  readonly again: () => void;
}

/**
 * Asks at once, when `about` changes, and then each `everyMs` (0: only once) as long as the page is seen.
 * An answer stays when a later question fails.
 */
export function useAnswer<T>(ask: (signal: AbortSignal) => Promise<T>, about: readonly unknown[], everyMs = 0): Answer<T> {
  const { onLocked, keyed } = useShared();
  const [state, setState] = useState<{ value: T | null; error: string | null }>({ value: null, error: null });
  const [turn, setTurn] = useState(0);
  const asking = useRef(ask);
  asking.current = ask;
  useEffect(() => {
    const ended = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const once = async (): Promise<void> => {
      if (!document.hidden) {
        try {
          const value = await asking.current(ended.signal);
          if (ended.signal.aborted) return;
          setState({ value, error: null });
        } catch (error) {
          if (ended.signal.aborted) return;
          if (error instanceof ApiError && error.status === 401) onLocked();
          setState((before) => ({ ...before, error: reasonOf(error) }));
        }
      }
      if (everyMs > 0 && !ended.signal.aborted) timer = setTimeout(() => void once(), everyMs);
    };
    void once();
    return () => {
      ended.abort();
      clearTimeout(timer);
    };
  }, [...about, keyed, turn, everyMs]);
  return { ...state, again: () => setTurn((n) => n + 1) };
}

/** The same for what a gateway may not have (a null answer): then it is asked once only. */
export function useOptional<T>(ask: (signal: AbortSignal) => Promise<T | null>, everyMs: number): Answer<{ readonly list: T | null }> {
  const [there, setThere] = useState(false);
  const answer = useAnswer(async (signal) => ({ list: await ask(signal) }), [], there ? everyMs : 0);
  const has = answer.value !== null && answer.value.list !== null;
  useEffect(() => {
    if (has) setThere(true);
  }, [has]);
  return answer;
}

export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
