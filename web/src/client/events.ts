/** Server-sent events, read with `fetch`: `EventSource` cannot send a key. */
import type { FileProgress, QueueJob, StreamSummary } from './types';

/** `GET /api/v2/events`. */
export type ServerEvent =
  | { readonly kind: 'jobs'; readonly jobs: readonly QueueJob[] }
  | { readonly kind: 'progress'; readonly jobs: readonly FileProgress[] }
  | { readonly kind: 'streams'; readonly streams: readonly StreamSummary[] }
  /** Jobs changed faster than they could be told: the list is to be asked for anew. */
  | { readonly kind: 'missed' };

const KINDS: readonly string[] = ['jobs', 'progress', 'streams', 'missed'];

/** One event in its lines; null for comments and for what this page does not know. */
export function readEvent(lines: string): ServerEvent | null {
  let kind = 'message';
  const data: string[] = [];
  for (const line of lines.split(/\r\n|\r|\n/)) {
    const colon = line.indexOf(':');
    if (colon <= 0) continue;
    const value = line.slice(colon + 1).replace(/^ /, '');
    if (line.slice(0, colon) === 'event') kind = value;
    if (line.slice(0, colon) === 'data') data.push(value);
  }
  if (!KINDS.includes(kind) || data.length === 0) return null;
  try {
    return { ...(JSON.parse(data.join('\n')) as object), kind } as ServerEvent;
  } catch {
    return null;
  }
}

/** Reads events until the body ends. Throws when the connection breaks. */
export async function readEvents(body: ReadableStream<Uint8Array>, heard: (event: ServerEvent) => void): Promise<void> {
  const reader = body.getReader();
  const words = new TextDecoder();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += words.decode(value, { stream: true });
    const events = rest.split(/\r\n\r\n|\n\n|\r\r/);
    rest = events.pop() ?? '';
    for (const lines of events) {
      const event = readEvent(lines);
      if (event !== null) heard(event);
    }
  }
}
