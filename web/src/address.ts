/** Addresses: what the page's own URL asks for, and where the gateway is. Pure. */

/** What the page was opened with. */
export interface DeepLink {
  /** `?job=`: an existing job, which this page plays but does not own. */
  readonly job: string | null;
  /** `?source=`: fills the input; the user presses play. */
  readonly source: string | null;
  /** `?t=`: where to begin, in seconds. */
  readonly at: number;
}

/** Reads `?job=`, `?source=` and `?t=`; empty values count as absent. */
export function readDeepLink(search: string): DeepLink {
  const query = new URLSearchParams(search);
  const value = (name: string): string | null => {
    const text = query.get(name)?.trim();
    return text ? text : null;
  };
  return { job: value('job'), source: value('source'), at: readTime(value('t') ?? '') ?? 0 };
}

/** A time as people write it: `90`, `1:30`, `1:02:03`, `1h2m3s`; null when it is none. */
export function readTime(text: string): number | null {
  const words = text.trim().toLowerCase();
  if (/^\d+(\.\d+)?s?$/.test(words)) return parseFloat(words);
  const parts = words.split(':');
  if (parts.length >= 2 && parts.length <= 3 && parts.every((part) => /^\d{1,2}(\.\d+)?$/.test(part))) {
    return parts.reduce((sum, part) => sum * 60 + parseFloat(part), 0);
  }
  const units = /^(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?$/.exec(words);
  if (units === null || words === '') return null;
  const [, h = '0', m = '0', s = '0'] = units;
  return Number(h) * 3600 + Number(m) * 60 + Number(s);
}

/** The page's address with the source in it, so that a reload or a copied link brings it back. */
export function pageAddress(pageUrl: string, source: string, at = 0): string {
  const url = new URL(pageUrl);
  url.search = '';
  url.hash = '';
  if (source !== '') url.searchParams.set('source', source);
  if (at >= 1) url.searchParams.set('t', String(Math.floor(at)));
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

/** Whether an address leads to the machine that it is used on, and to no other. */
function isLoopback(url: string): boolean {
  return /^(localhost|.*\.localhost|127\.[\d.]+|\[::1\])$/.test(new URL(url).hostname);
}

/**
 * The address, with a closing slash, under which other devices reach the gateway: the page's own, unless
 * that leads nowhere for them; then `told`, the gateway's word. Null when nobody else reaches it.
 */
export function addressForOthers(base: string, told: string | null): string | null {
  if (!isLoopback(base)) return base;
  if (told === null || isLoopback(told)) return null;
  return told.endsWith('/') ? told : `${told}/`;
}

/** The same file, asked for at `gateway` (with a closing slash) in place of `base`. */
export function movedTo(url: string, base: string, gateway: string): string {
  const own = sameOrigin(url, base);
  return gateway + own.slice(base.length);
}
