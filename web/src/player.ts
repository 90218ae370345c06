/** Plays one stream in a `<video>`: hls.js where the browser has Media Source, its own HLS elsewhere. */
import type Hls from 'hls.js';
import type { ErrorData, HlsConfig, LoadPolicy } from 'hls.js';
import workerUrl from 'hls.js/dist/hls.worker.js?url';
import { reasonIn, statusWords } from './client';
import { type Taste, rememberTaste, taste } from './remembered';

/** Something went wrong in the player. Not fatal: it tries again by itself. */
export interface Trouble {
  readonly words: string;
  readonly fatal: boolean;
  /** The browser lacks a decoder; asking the gateway for H.264 helps. */
  readonly codec: boolean;
}

/** Something a menu offers. */
export interface Choice {
  readonly id: number;
  readonly name: string;
}

/** What the stream offers and what is chosen; -1 is "by itself" for sizes and "off" for subtitles. */
export interface Choices {
  readonly sizes: readonly Choice[];
  readonly size: number;
  /** The size that is shown now, whoever chose it. */
  readonly shownSize: number;
  readonly audios: readonly Choice[];
  readonly audio: number;
  readonly subtitles: readonly Choice[];
  readonly subtitle: number;
}

export const NO_CHOICES: Choices = {
  sizes: [],
  size: -1,
  shownSize: -1,
  audios: [],
  audio: -1,
  subtitles: [],
  subtitle: -1,
};

/** A stream that plays. */
export interface Playback {
  readonly end: () => void;
  readonly chooseSize: (id: number) => void;
  readonly chooseAudio: (id: number) => void;
  readonly chooseSubtitle: (id: number) => void;
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
  /** Seconds; 0 while it is not known. */
  readonly duration: number;
  readonly paused: boolean;
  readonly ended: boolean;
  readonly muted: boolean;
  /** 0..1. */
  readonly volume: number;
  readonly rate: number;
  /** What the browser has, in seconds. */
  readonly buffered: ReadonlyArray<readonly [number, number]>;
  readonly choices: Choices;
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
  duration: 0,
  paused: true,
  ended: false,
  muted: false,
  volume: 1,
  rate: 1,
  buffered: [],
  choices: NO_CHOICES,
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
/** How often the gateway may answer that its encoder failed (502): it has tried several times itself. */
const MAX_FAULTS = 2;
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

function ranges(times: TimeRanges): Array<readonly [number, number]> {
  return Array.from({ length: times.length }, (_, i) => [times.start(i), times.end(i)] as const);
}

/**
 * Plays `url` in `video` from `at` seconds on, until `end` is called. `since` is the
 * `performance.now()` of the press of the button.
 */
export function attach(
  video: HTMLVideoElement,
  url: string,
  since: number,
  at: number,
  changed: (view: PlayerView) => void,
): Playback {
  const liked = taste();
  [video.volume, video.muted] = [Math.min(1, Math.max(0, liked.volume)), liked.muted];
  let view: PlayerView = { ...NO_PLAYER, volume: video.volume, muted: video.muted };
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
  let quieting = false;
  const play = (): void => {
    video.play().catch((error: unknown) => {
      if (!isRefusal(error)) return;
      // Without sound most browsers let a page play that the user has not touched yet.
      quieting = true;
      video.muted = true;
      video
        .play()
        .then(
          () => update({ silenced: video.muted && !liked.muted }),
          (second: unknown) => {
            video.muted = liked.muted;
            if (isRefusal(second)) update({ blocked: true });
          },
        )
        .finally(() => {
          quieting = false;
        });
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
    // That the browser wanted silence is not what the viewer likes.
    if (!view.silenced && !quieting) rememberTaste({ volume: video.volume, muted: video.muted });
    update({ volume: video.volume, muted: video.muted, silenced: view.silenced && video.muted });
  });
  on('ratechange', () => update({ rate: video.playbackRate }));
  on('durationchange', () => update({ duration: Number.isFinite(video.duration) ? video.duration : 0 }));
  on('play', () => update({ paused: false, ended: false }));
  on('pause', () => update({ paused: true }));
  on('ended', () => update({ ended: true, paused: true }));
  on('progress', () => update({ buffered: ranges(video.buffered) }));
  on('playing', () => update({ stalledAt: null, blocked: false }));
  on('timeupdate', () =>
    update({ position: video.currentTime, stalledAt: null, buffered: ranges(video.buffered) }),
  );

  let hls: Hls | null = null;
  /** The size that was chosen last, which may be a moment before it is taken. */
  let wantedSize = -1;
  void (async () => {
    const library = (await import('hls.js')).default;
    if (ended.signal.aborted) return;
    if (library.isSupported()) {
      hls = withHls(library, video, url, at, liked, { update, calm, fail, play, ended: ended.signal });
    } else if (video.canPlayType('application/vnd.apple.mpegurl') !== '') {
      on('error', () => void explainNative(url).then(fail));
      video.src = at > 0 ? `${url}#t=${at}` : url;
      play();
    } else {
      fail('this browser can play neither Media Source nor HLS');
    }
  })().catch(() => fail('the player could not be loaded from the gateway'));

  return {
    end: () => {
      ended.abort();
      hls?.destroy();
      video.removeAttribute('src');
      video.load();
    },
    chooseSize: (id) => {
      if (hls === null) return;
      update({ choices: { ...view.choices, size: id } });
      wantedSize = id;
      const chosen = hls;
      void madeReady(chosen, id, view.starts, video.currentTime, ended.signal).then(() => {
        // What is buffered plays on for a moment; then comes the chosen size.
        if (!ended.signal.aborted && wantedSize === id) chosen.nextLevel = id;
      });
    },
    chooseAudio: (id) => {
      if (hls === null) return;
      hls.audioTrack = id;
      rememberTaste({ audio: hls.audioTracks[id]?.name ?? null });
    },
    chooseSubtitle: (id) => {
      if (hls === null) return;
      hls.subtitleTrack = id;
      hls.subtitleDisplay = id >= 0;
      rememberTaste({ subtitle: hls.subtitleTracks[id]?.name ?? '' });
    },
  };
}

/** How far ahead of the viewer a size changes, and how long its encoder is waited for. */
const CHANGE_AHEAD_S = 4;
const CHANGE_WITHIN_MS = 10_000;

/**
 * Waits until the first segment of a size is made that the viewer will see: each size has an encoder of its
 * own, which must get under way before what is buffered is thrown away.
 */
async function madeReady(hls: Hls, id: number, starts: readonly number[], now: number, ended: AbortSignal): Promise<void> {
  const address = hls.levels[id]?.uri;
  const number = starts.findIndex((start) => start > now + CHANGE_AHEAD_S);
  if (address === undefined || number < 0) return;
  try {
    const signal = AbortSignal.any([ended, AbortSignal.timeout(CHANGE_WITHIN_MS)]);
    const playlist = await (await fetch(address, { signal })).text();
    // Sizes are cut at the same places.
    const files = playlist.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    const file = files[number];
    if (file !== undefined) await (await fetch(new URL(file.trim(), address), { signal })).arrayBuffer();
  } catch {
    // Then it is the player's turn to find out.
  }
}

interface Hooks {
  readonly update: (change: Partial<PlayerView>) => void;
  readonly calm: () => void;
  readonly fail: (words: string, codec?: boolean) => void;
  readonly play: () => void;
  readonly ended: AbortSignal;
}

/** The tracks that are chosen before the viewer chooses one. */
function preferred(liked: Taste): Partial<HlsConfig> {
  return {
    ...(liked.audio === null ? {} : { audioPreference: { name: liked.audio } }),
    // A name that no track has turns them off.
    ...(liked.subtitle === null ? {} : { subtitlePreference: { name: liked.subtitle } }),
  };
}

function withHls(library: typeof Hls, video: HTMLVideoElement, url: string, at: number, liked: Taste, hooks: Hooks): Hls {
  const { Events, ErrorTypes, ErrorDetails } = library;
  const hls = new library({ ...CONFIG, ...preferred(liked), startPosition: at });
  const offer = (): void => hooks.update({ choices: choicesOf(hls) });
  let attempt = 0;
  let faults = 0;
  let recoveries = 0;
  let havePlaylist = false;
  /** Nothing is asked for any more; a seek to another place begins anew. */
  let stopped = false;
  video.addEventListener(
    'seeking',
    () => {
      if (!stopped || !havePlaylist) return;
      stopped = false;
      attempt = 0;
      faults = 0;
      hooks.update({ trouble: null });
      hls.startLoad(video.currentTime);
    },
    { signal: hooks.ended },
  );

  hls.on(Events.MANIFEST_PARSED, () => {
    havePlaylist = true;
    hooks.play();
  });
  for (const event of [
    Events.MANIFEST_PARSED,
    Events.LEVEL_SWITCHED,
    Events.AUDIO_TRACKS_UPDATED,
    Events.AUDIO_TRACK_SWITCHED,
    Events.SUBTITLE_TRACKS_UPDATED,
    Events.SUBTITLE_TRACK_SWITCH,
  ] as const) {
    hls.on(event, offer);
  }
  hls.on(Events.LEVEL_LOADED, (_event, data) => {
    hooks.update({ starts: data.details.fragments.map((fragment) => fragment.start) });
  });
  hls.on(Events.FRAG_BUFFERED, () => {
    attempt = 0;
    faults = 0;
    hooks.calm();
  });

  const onNetwork = (data: ErrorData): void => {
    const answer = answerOf(data.networkDetails);
    const status = answer.status ?? data.response?.code ?? null;
    const words = networkWords(status, answer.reason, /TimeOut$/.test(data.details));
    // hls.js has no way to ask less often for what cannot be had.
    faults += Number(status === 502);
    const hopeless = faults >= MAX_FAULTS;
    if (!data.fatal && !hopeless) {
      hooks.update({ trouble: { words, fatal: false, codec: false } });
      return;
    }
    const delay = hopeless ? null : retryDelayMs(status, attempt);
    if (delay === null) {
      hls.stopLoad();
      hooks.fail(words);
      stopped = true;
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

/** The name of a rung: its height, by which people know it. */
function sizeName(level: { readonly height: number; readonly width: number; readonly bitrate: number }): string {
  if (level.height === 0) return `${Math.round(level.bitrate / 1000)} kbit/s`;
  // What is wider than 16:9 is known by the height it would have.
  return `${Math.max(level.height, Math.round((level.width * 9) / 16 / 2) * 2)}p`;
}

/** A track that has no name but the code of its language is called by that language. Pure. */
export function trackName(name: string, lang: string | undefined): string {
  if (lang === undefined || lang === '' || lang === 'und') return name;
  try {
    const words = new Intl.DisplayNames(['en'], { type: 'language' }).of(lang) ?? lang;
    if (name === '' || name.toLowerCase() === lang.toLowerCase() || LANGUAGE_CODE.test(name)) return words;
    return name.toLowerCase().includes(words.toLowerCase()) ? name : `${name} (${words})`;
  } catch {
    // No code of a language.
    return name;
  }
}
const LANGUAGE_CODE = /^[a-z]{2,3}(-[A-Z]{2})?$/;

function choicesOf(hls: Hls): Choices {
  return {
    sizes: hls.levels.map((level, id) => ({ id, name: sizeName(level) })),
    size: hls.autoLevelEnabled ? -1 : hls.nextLevel,
    shownSize: hls.currentLevel,
    audios: hls.audioTracks.map((track, id) => ({ id, name: trackName(track.name, track.lang) })),
    audio: hls.audioTrack,
    subtitles: hls.subtitleTracks.map((track, id) => ({ id, name: trackName(track.name, track.lang) })),
    subtitle: hls.subtitleTrack,
  };
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
