/** Addresses: what the page's own URL asks for, and where the gateway is. Pure. */

/** What the page was opened with. */
export interface DeepLink {
  /** `?job=`: an existing job, which this page plays but does not own. */
  readonly job: string | null;
  /** `?source=`: fills the input; the user presses play. */
  readonly source: string | null;
}

/** Reads `?job=` and `?source=`; empty values count as absent. */
export function readDeepLink(search: string): DeepLink {
  const query = new URLSearchParams(search);
  const value = (name: string): string | null => {
    const text = query.get(name)?.trim();
    return text ? text : null;
  };
  return { job: value('job'), source: value('source') };
}

/** The page's address with the source in it, so that a reload or a copied link brings it back. */
export function pageAddress(pageUrl: string, source: string): string {
  const url = new URL(pageUrl);
  url.search = '';
  url.hash = '';
  if (source !== '') url.searchParams.set('source', source);
  return url.href;
}

/**
 * The folder the page is served from, with a closing slash: `https://host/`, or
 * `https://host/video/` behind a proxy that adds a path.
 */
export function baseOf(pageUrl: string): string {
  return new URL('.', pageUrl).href;
}

/**
 * The stream's address as this page must ask for it. The gateway names itself as
 * it was configured or as it saw the request; the browser may know it by another
 * name or port, and only the page's own origin is allowed to be asked. So the
 * path and the query are kept, and the origin is the page's.
 */
export function sameOrigin(streamUrl: string, base: string): string {
  const here = new URL(base);
  const there = new URL(streamUrl, base);
  const inside = there.pathname.startsWith(here.pathname);
  const path = inside ? there.pathname : here.pathname.replace(/\/$/, '') + there.pathname;
  return here.origin + path + there.search;
}
