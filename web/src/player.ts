/** Plays one stream in a `<video>`: hls.js where the browser has Media Source, its own HLS elsewhere. */
import type Hls from 'hls.js';
import type { ErrorData, HlsConfig, LoadPolicy } from 'hls.js';
import workerUrl from 'hls.js/dist/hls.worker.js?url';
import { reasonIn, statusWords } from './api';

/** Something went wrong in the player. Not fatal: it tries again by itself. */
export interface Trouble {
  readonly words: string;
  readonly fatal: boolean;
  /** The browser lacks a decoder; asking the gateway for H.264 helps. */
  readonly codec: boolean;
}

export interface PlayerView {
  /** From pressing play to the first picture. */
  readonly firstPictureMs: number | null;
  /** Where a seek is going to, in seconds, until a picture is there. */
  readonly seekingTo: number | null;
  /** Where playing waits for data, in seconds. */
  readonly stalledAt: number | null;
  readonly position: number;
  /** The browser wants the user to press play in the player. */
  readonly blocked: boolean;
  /** The browser let it play only without sound. */
  readonly silenced: boolean;
  readonly trouble: Trouble | null;
  /** The time in seconds at which each segment of the playlist starts. */
  readonly starts: readonly number[];
  readonly width: number;
  readonly height: number;
}

export const NO_PLAYER: PlayerView = {
  firstPictureMs: null,
  seekingTo: null,
  stalledAt: null,
  position: 0,
  blocked: false,
  silenced: false,
  trouble: null,
  starts: [],
  width: 0,
  height: 0,
};

/** A segment far ahead is encoded when it is asked for: the first byte may take long, and that is no error. */
const policy = (maxLoadTimeMs: number, retries: number): LoadPolicy => ({
  default: {
    maxTimeToFirstByteMs: 30_000,
    maxLoadTimeMs,
    timeoutRetry: { maxNumRetry: retries, retryDelayMs: 0, maxRetryDelayMs: 0 },
    errorRetry: {
      maxNumRetry: retries,
      retryDelayMs: 500,
      maxRetryDelayMs: 8_000,
      backoff: 'exponential',
      // Also when there was no answer at all: the gateway may be starting again.
      shouldRetry: (limits, count, _timeout, response, retry) =>
        retry || (response?.code === 0 && count < (limits?.maxNumRetry ?? 0)),
    },
  },
});

const CONFIG: Partial<HlsConfig> = {
  enableWorker: true,
  workerPath: workerUrl,
  startPosition: 0,
  startFragPrefetch: true,
  // Each level is an encoder of its own: no test download, and a cautious first choice.
  startLevel: -1,
  testBandwidth: false,
  abrEwmaDefaultEstimate: 5_000_000,
  maxBufferLength: 30,
  maxMaxBufferLength: 60,
  backBufferLength: 60,
  manifestLoadPolicy: policy(60_000, 3),
  playlistLoadPolicy: policy(60_000, 3),
  fragLoadPolicy: policy(120_000, 5),
};

/** How often a stream that hls.js gave up on is asked for again. */
const MAX_ATTEMPTS = 8;
const MAX_RECOVERIES = 3;

/**
 * The wait before asking again after hls.js gave up, or null to stop. An answer of
 * the 4xx kind stays what it is, except those that say "later".
 */
export function retryDelayMs(status: number | null, attempt: number): number | null {
  const later = status === 408 || status === 425 || status === 429;
  if (status !== null && status >= 400 && status < 500 && !later) return null;
  return attempt >= MAX_ATTEMPTS ? null : Math.min(1000 * 2 ** attempt, 15_000);
}

/** The words for an answer that was not a playlist or a segment. */
export function networkWords(status: number | null, reason: string | null, timedOut: boolean): string {
  if (reason !== null) return reason;
  if (timedOut) return 'the gateway needs longer than usual';
  return statusWords(status ?? 0);
}

/** Whether the browser refused to play by itself. */
const isRefusal = (error: unknown): boolean => error instanceof DOMException && error.name === 'NotAllowedError';

/** What the gateway said in a failed answer: its status, and the reason in its JSON body. */
function answerOf(details: unknown): { status: number | null; reason: string | null } {
  if (!(details instanceof XMLHttpRequest)) return { status: null, reason: null };
  let body = '';
  if (details.responseType === 'arraybuffer') {
    const bytes: unknown = details.response;
    if (bytes instanceof ArrayBuffer) body = new TextDecoder().decode(bytes);
  } else if (details.responseType === '' || details.responseType === 'text') {
    body = details.responseText;
  }
  return { status: details.status, reason: reasonIn(body) };
}

/**
 * Plays `url` in `video` until the returned function is called. `since` is the
 * `performance.now()` of the press of the button.
 */
export function attach(
  video: HTMLVideoElement,
  url: string,
  since: number,
  changed: (view: PlayerView) => void,
): () => void {
  let view: PlayerView = NO_PLAYER;
  const ended = new AbortController();
  const update = (change: Partial<PlayerView>): void => {
    if (ended.signal.aborted) return;
    view = { ...view, ...change };
    changed(view);
  };
  const calm = (): void => {
    if (view.trouble !== null && !view.trouble.fatal) update({ trouble: null });
  };
  const fail = (words: string, codec = false): void => update({ trouble: { words, fatal: true, codec } });
  const play = (): void => {
    video.play().catch((error: unknown) => {
      if (!isRefusal(error)) return;
      // Without sound most browsers let a page play that the user has not touched yet.
      video.muted = true;
      video.play().then(
        () => update({ silenced: video.muted }),
        (second: unknown) => {
          video.muted = false;
          if (isRefusal(second)) update({ blocked: true });
        },
      );
    });
  };

  const on = (name: keyof HTMLMediaElementEventMap, handler: () => void): void =>
    video.addEventListener(name, handler, { signal: ended.signal });
  on('loadeddata', () => {
    if (view.firstPictureMs === null) update({ firstPictureMs: performance.now() - since });
  });
  on('resize', () => update({ width: video.videoWidth, height: video.videoHeight }));
  on('seeking', () => {
    // The player's own step to the start is no seek of the user's.
    if (view.firstPictureMs !== null) update({ seekingTo: video.currentTime, stalledAt: null });
  });
  on('seeked', () => update({ seekingTo: null, position: video.currentTime }));
  on('waiting', () => update({ stalledAt: video.currentTime }));
  on('volumechange', () => {
    if (view.silenced && !video.muted) update({ silenced: false });
  });
  on('playing', () => update({ stalledAt: null, blocked: false }));
  on('timeupdate', () => update({ position: video.currentTime, stalledAt: null }));

  let hls: Hls | null = null;
  void (async () => {
    const library = (await import('hls.js')).default;
    if (ended.signal.aborted) return;
    if (library.isSupported()) {
      hls = withHls(library, video, url, { update, calm, fail, play, ended: ended.signal });
    } else if (video.canPlayType('application/vnd.apple.mpegurl') !== '') {
      on('error', () => void explainNative(url).then(fail));
      video.src = url;
      play();
    } else {
      fail('this browser can play neither Media Source nor HLS');
    }
  })().catch(() => fail('the player could not be loaded from the gateway'));

  return () => {
    ended.abort();
    hls?.destroy();
    video.removeAttribute('src');
    video.load();
  };
}

interface Hooks {
  readonly update: (change: Partial<PlayerView>) => void;
  readonly calm: () => void;
  readonly fail: (words: string, codec?: boolean) => void;
  readonly play: () => void;
  readonly ended: AbortSignal;
}

function withHls(library: typeof Hls, video: HTMLVideoElement, url: string, hooks: Hooks): Hls {
  const { Events, ErrorTypes, ErrorDetails } = library;
  const hls = new library(CONFIG);
  let attempt = 0;
  let recoveries = 0;
  let havePlaylist = false;

  hls.on(Events.MANIFEST_PARSED, () => {
    havePlaylist = true;
    hooks.play();
  });
  hls.on(Events.LEVEL_LOADED, (_event, data) => {
    hooks.update({ starts: data.details.fragments.map((fragment) => fragment.start) });
  });
  hls.on(Events.FRAG_BUFFERED, () => {
    attempt = 0;
    hooks.calm();
  });

  const onNetwork = (data: ErrorData): void => {
    const answer = answerOf(data.networkDetails);
    const status = answer.status ?? data.response?.code ?? null;
    const words = networkWords(status, answer.reason, /TimeOut$/.test(data.details));
    if (!data.fatal) {
      hooks.update({ trouble: { words, fatal: false, codec: false } });
      return;
    }
    const delay = retryDelayMs(status, attempt);
    if (delay === null) {
      hls.stopLoad();
      hooks.fail(words);
      return;
    }
    attempt += 1;
    hooks.update({ trouble: { words, fatal: false, codec: false } });
    const timer = setTimeout(() => (havePlaylist ? hls.startLoad() : hls.loadSource(url)), delay);
    hooks.ended.addEventListener('abort', () => clearTimeout(timer), { once: true });
  };

  const unsupported: readonly string[] = [
    ErrorDetails.MANIFEST_INCOMPATIBLE_CODECS_ERROR,
    ErrorDetails.BUFFER_ADD_CODEC_ERROR,
    ErrorDetails.BUFFER_INCOMPATIBLE_CODECS_ERROR,
  ];
  const onMedia = (data: ErrorData): void => {
    if (unsupported.includes(data.details)) {
      if (data.fatal) hooks.fail('this browser cannot decode the film as it is', true);
      return;
    }
    if (!data.fatal) return;
    recoveries += 1;
    if (recoveries > MAX_RECOVERIES) {
      hooks.fail('this browser gave up decoding the film', true);
      return;
    }
    if (recoveries === 2) hls.swapAudioCodec();
    hls.recoverMediaError();
    hooks.play();
  };

  hls.on(Events.ERROR, (_event, data) => {
    // A seek drops the request for a segment that is no longer wanted.
    if (data.details === ErrorDetails.INTERNAL_ABORTED) return;
    if (data.type === ErrorTypes.NETWORK_ERROR) onNetwork(data);
    else if (data.type === ErrorTypes.MEDIA_ERROR) onMedia(data);
    else if (data.fatal) hooks.fail(`the player stopped (${data.details})`);
  });

  hls.loadSource(url);
  hls.attachMedia(video);
  return hls;
}

/** A browser's own HLS hides what went wrong: the playlist is asked for once more to learn it. */
async function explainNative(url: string): Promise<string> {
  try {
    const response = await fetch(url);
    if (!response.ok) return reasonIn(await response.text()) ?? statusWords(response.status);
    return 'this browser cannot decode the film';
  } catch {
    return statusWords(0);
  }
}
