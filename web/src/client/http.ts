/** How the page talks HTTP: one place that fetches, and what an answer that is no success means. */

/** A request that did not succeed. `status` is 0 when no answer came at all. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
    this.name = 'ApiError';
  }
}

export type Json = Record<string, unknown>;
export const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value);
export const text = (value: unknown): string | null => (typeof value === 'string' && value !== '' ? value : null);
export const number = (value: unknown): number | null => (typeof value === 'number' && Number.isFinite(value) ? value : null);

/**
 * The reason in an error body, in words: `detail` as text or as a list of
 * `{msg, loc}`, or the fields other protocols of the gateway use. Null when the
 * body says nothing.
 */
export function reasonIn(bodyText: string): string | null {
  let body: unknown;
  try {
    body = JSON.parse(bodyText);
  } catch {
    return null;
  }
  if (!isObject(body)) return null;
  const detail = body['detail'] ?? body['error'] ?? body['Error'] ?? body['reason'] ?? body['message'];
  if (!Array.isArray(detail)) return text(detail);
  const parts = (detail as unknown[]).flatMap((item) => {
    if (!isObject(item)) return [];
    const message = text(item['msg']);
    if (message === null) return [];
    const loc = Array.isArray(item['loc']) ? (item['loc'] as unknown[]).filter((part) => part !== 'body').join('.') : '';
    return [loc === '' ? message : `${loc}: ${message}`];
  });
  return parts.length > 0 ? parts.join('; ') : null;
}

/** What an HTTP status means to a person, where the body does not say it. */
export function statusWords(status: number): string {
  switch (status) {
    case 0:
      return 'the gateway does not answer';
    case 401:
      return 'the gateway wants a key';
    case 403:
      return 'the gateway does not allow this';
    case 404:
      return 'the gateway does not know this';
    case 503:
      return 'the gateway is busy, try again in a moment';
    case 504:
      return 'the source took too long to answer';
    default:
      return status >= 500 ? `the gateway failed (${status})` : `the gateway refused this (${status})`;
  }
}

export type Fetch = (input: string, init?: RequestInit) => Promise<Response>;

/** Requests below `base` (which ends in a slash). */
export class Transport {
  #key: string | null = null;

  constructor(
    readonly base: string,
    private readonly fetch: Fetch = (input, init) => globalThis.fetch(input, init),
  ) {}

  /** Sends `security.api_key` along with every request from now on. */
  useKey(key: string | null): void {
    this.#key = key;
  }

  /** The JSON of an answer. `ApiError` carries the gateway's own reason. */
  async json(path: string, init: RequestInit = {}, also?: number): Promise<unknown> {
    const response = await this.request(path, init, also);
    try {
      return (await response.json()) as unknown;
    } catch (error) {
      if (init.signal?.aborted) throw error;
      throw new ApiError(response.status, 'the gateway answered something that is not JSON');
    }
  }

  /** An answer that is a success, or has the status `also`, whose body is an answer too. */
  async request(path: string, init: RequestInit = {}, also?: number): Promise<Response> {
    const headers: Record<string, string> = { Accept: 'application/json' };
    if (typeof init.body === 'string') headers['Content-Type'] = 'application/json';
    if (this.#key !== null) headers['X-API-Key'] = this.#key;
    let response: Response;
    try {
      response = await this.fetch(this.base + path, { ...init, headers: { ...headers, ...init.headers } });
    } catch (error) {
      if (init.signal?.aborted) throw error;
      throw new ApiError(0, statusWords(0));
    }
    if (!response.ok && response.status !== also) {
      const reason = reasonIn(await response.text().catch(() => ''));
      throw new ApiError(response.status, reason ?? statusWords(response.status));
    }
    return response;
  }
}
