/** What this browser remembers between visits: where films were left, and how one likes to watch. */

/** A film that was begun here. */
export interface Begun {
  readonly source: string;
  /** Where it was left, in seconds. */
  readonly at: number;
  readonly duration: number;
  /** `Date.now()` of then. */
  readonly when: number;
}

/** How one likes to watch; tracks are known by their names, which films share. */
export interface Taste {
  /** 0..1. */
  readonly volume: number;
  readonly muted: boolean;
  readonly audio: string | null;
  /** `null`: as the film says; the empty name: none. */
  readonly subtitle: string | null;
}

export const NO_TASTE: Taste = { volume: 1, muted: false, audio: null, subtitle: null };

const MOST_BEGUN = 60;
/** A film of which less was seen was only looked at. */
const LEAST_SEEN_S = 20;
/** What is left of a film that counts as seen: its credits. */
const CREDITS = 0.05;

/** Where a film goes on; null when it is to begin at its beginning. Pure. */
export function resumeAt(begun: Begun | undefined): number | null {
  if (begun === undefined || begun.duration <= 0) return null;
  const seen = begun.at >= LEAST_SEEN_S || begun.at / begun.duration > 0.25;
  return seen && begun.at < begun.duration * (1 - CREDITS) ? begun.at : null;
}

/** The list with `film` as the latest. Pure. */
export function withBegun(list: readonly Begun[], film: Begun): readonly Begun[] {
  return [film, ...list.filter((one) => one.source !== film.source)].slice(0, MOST_BEGUN);
}

const BEGUN = 'ghoststream-begun';
const TASTE = 'ghoststream-taste';

/** Storage may be forbidden or hold what an older page wrote; then nothing is remembered. */
function read(name: string): unknown {
  try {
    return JSON.parse(localStorage.getItem(name) ?? 'null') as unknown;
  } catch {
    return null;
  }
}

function write(name: string, value: unknown): void {
  try {
    localStorage.setItem(name, JSON.stringify(value));
  } catch {
    // As above.
  }
}

function isBegun(value: unknown): value is Begun {
  const film = value as Partial<Begun> | null;
  return typeof film?.source === 'string' && [film.at, film.duration, film.when].every((n) => typeof n === 'number' && Number.isFinite(n));
}

/** Films that were begun here, the latest first. */
export function begunFilms(): readonly Begun[] {
  const list = read(BEGUN);
  return Array.isArray(list) ? list.filter(isBegun).slice(0, MOST_BEGUN) : [];
}

export function rememberFilm(film: Begun): void {
  write(BEGUN, withBegun(begunFilms(), film));
}

export function forgetFilm(source: string): void {
  write(BEGUN, begunFilms().filter((film) => film.source !== source));
}

export function taste(): Taste {
  const kept = read(TASTE);
  return typeof kept === 'object' && kept !== null ? { ...NO_TASTE, ...(kept as Partial<Taste>) } : NO_TASTE;
}

export function rememberTaste(change: Partial<Taste>): void {
  write(TASTE, { ...taste(), ...change });
}
