/** Pages, by what stands behind the `#` of the address. Pure but for the hook at the end. */
import { useEffect, useState } from 'preact/hooks';

export type Page = 'watch' | 'jobs' | 'scenes' | 'machines' | 'settings';

export interface Route {
  readonly page: Page;
  /** What of the page is shown: the id of a project. */
  readonly detail: string | null;
}

const PAGES: readonly Page[] = ['watch', 'jobs', 'scenes', 'machines', 'settings'];

/** `#/jobs`, `#/scenes/p1`; anything else is the first page. */
export function readRoute(hash: string): Route {
  const [name = '', ...rest] = hash.replace(/^#\/?/, '').split('/');
  const page = PAGES.find((known) => known === name) ?? 'watch';
  let detail: string | null = null;
  try {
    detail = page !== 'watch' && rest.length > 0 ? decodeURIComponent(rest.join('/')) : null;
  } catch {
    // A `%` that is none of an encoding's.
  }
  return { page, detail: detail === '' ? null : detail };
}

export function hashOf(page: Page, detail: string | null = null): string {
  return detail === null ? `#/${page}` : `#/${page}/${encodeURIComponent(detail)}`;
}

export function useRoute(): Route {
  const [route, setRoute] = useState(() => readRoute(location.hash));
  useEffect(() => {
    const changed = (): void => setRoute(readRoute(location.hash));
    addEventListener('hashchange', changed);
    return () => removeEventListener('hashchange', changed);
  }, []);
  return route;
}
