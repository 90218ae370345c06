import { useEffect, useRef, useState } from 'preact/hooks';
import type { Quality, StreamMap } from '../client';
import { clock } from '../format';
import { type Playback, type PlayerView, attach } from '../player';
import type { Stretch } from '../ready';
import { Menu, type MenuItem } from './Menu';
import { Picture } from './Picture';
import { SeekBar, readyWords } from './SeekBar';
import {
  AudioIcon,
  FullIcon,
  Ghost,
  KeysIcon,
  MutedIcon,
  PauseIcon,
  PipIcon,
  PlayIcon,
  SubtitlesIcon,
  VolumeIcon,
} from './icons';

export const QUALITIES: ReadonlyArray<readonly [Quality, string]> = [
  ['original', 'Original'],
  ['adaptive', 'Adaptive'],
  ['2160p', '2160p'],
  ['1440p', '1440p'],
  ['1080p', '1080p'],
  ['720p', '720p'],
  ['480p', '480p'],
  ['360p', '360p'],
];

interface Props {
  readonly url: string;
  /** `performance.now()` of the press of the button. */
  readonly since: number;
  /** Where to begin, in seconds. */
  readonly at: number;
  readonly name: string;
  /** What is played, for its pictures; null when it has none. */
  readonly source: string | null;
  readonly view: PlayerView;
  readonly ready: readonly Stretch[];
  readonly map: StreamMap | null;
  /** Whether there is no picture at all. */
  readonly soundOnly: boolean;
  /** The quality that was asked for; null when somebody else did. */
  readonly quality: Quality | null;
  /** Whether there is no picture yet, but there will be. */
  readonly waiting: boolean;
  /** Whether keys that no element wants are the player's. */
  readonly listening: boolean;
  readonly onQuality: (quality: Quality) => void;
  readonly onKeys: () => void;
  /** Told of the player's state, and of the `since` it belongs to. */
  readonly onView: (view: PlayerView, since: number) => void;
  readonly seeker: { current: ((seconds: number) => void) | null };
}

/** How long the controls stay when nobody moves. */
const STAY_MS = 2600;
/** Who is not further behind sees what happens now. */
const LIVE_EDGE_S = 10;
const RATES = ['0.5', '0.75', '1', '1.25', '1.5', '2'];

/** A video with its controls. */
export function Player(props: Props) {
  const { url, since, at, name, view } = props;
  const video = useRef<HTMLVideoElement>(null);
  const stage = useRef<HTMLDivElement>(null);
  const playback = useRef<Playback | null>(null);
  const [calm, setCalm] = useState(false);
  const hide = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);

  useEffect(() => {
    if (video.current === null) return undefined;
    stage.current?.focus({ preventScroll: true });
    playback.current = attach(video.current, url, since, at, (next) => props.onView(next, since));
    return () => {
      playback.current?.end();
      playback.current = null;
    };
  }, [url, since]);

  const stir = (): void => {
    setCalm(false);
    clearTimeout(hide.current);
    hide.current = setTimeout(() => setCalm(true), STAY_MS);
  };
  useEffect(() => () => clearTimeout(hide.current), []);

  const duration = view.duration;
  const seek = (seconds: number): void => {
    if (video.current === null) return;
    video.current.currentTime = Math.min(Math.max(seconds, 0), Math.max(0, duration - 0.05));
  };
  props.seeker.current = seek;
  const toggle = (): void => {
    if (video.current === null) return;
    if (video.current.paused) void video.current.play().catch(() => undefined);
    else video.current.pause();
  };
  const loudness = (change: number): void => {
    if (video.current === null) return;
    video.current.muted = false;
    video.current.volume = Math.min(1, Math.max(0, video.current.volume + change));
  };
  const mute = (): void => {
    if (video.current !== null) video.current.muted = !video.current.muted;
  };
  const full = (): void => {
    if (document.fullscreenElement !== null) void document.exitFullscreen().catch(() => undefined);
    else if (stage.current?.requestFullscreen !== undefined) void stage.current.requestFullscreen().catch(() => undefined);
    // iPhones show only a video on the whole screen, with controls of their own.
    else (video.current as (HTMLVideoElement & { webkitEnterFullscreen?: () => void }) | null)?.webkitEnterFullscreen?.();
  };
  const subtitles = (): void => {
    const { choices } = view;
    if (choices.subtitles.length === 0) return;
    playback.current?.chooseSubtitle(choices.subtitle >= 0 ? -1 : (choices.subtitles[0]?.id ?? -1));
  };
  const rate = (factor: number): void => {
    if (video.current !== null) video.current.playbackRate = factor;
  };

  const onKey = (event: KeyboardEvent): void => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.target as HTMLElement;
    if (target.closest('input:not([type="range"]), select, textarea, [role="menu"], dialog') !== null) return;
    const onButton = target.closest('button, a') !== null;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    // In lists the arrows are the list's, and on a button the space bar presses it.
    const inStage = stage.current?.contains(target) === true || target === document.body;
    if ((key === ' ' || key === 'Enter') && (onButton || key === 'Enter')) return;
    if (/^Arrow|^Home$|^End$/.test(key) && (!inStage || target.matches('input'))) return;
    const now = video.current?.currentTime ?? 0;
    const actions: Readonly<Record<string, () => void>> = {
      ' ': toggle,
      k: toggle,
      j: () => seek(now - 10),
      l: () => seek(now + 10),
      ArrowLeft: () => seek(now - 5),
      ArrowRight: () => seek(now + 5),
      ArrowUp: () => loudness(0.1),
      ArrowDown: () => loudness(-0.1),
      Home: () => seek(0),
      End: () => seek(duration - 1),
      ',': () => seek(now - 1 / 25),
      '.': () => seek(now + 1 / 25),
      m: mute,
      f: full,
      c: subtitles,
      '<': () => rate(Math.max(0.5, view.rate - 0.25)),
      '>': () => rate(Math.min(2, view.rate + 0.25)),
      '?': props.onKeys,
    };
    const digit = /^[0-9]$/.test(key) ? () => seek((duration * Number(key)) / 10) : undefined;
    const action = actions[key] ?? digit;
    if (action === undefined) return;
    event.preventDefault();
    stir();
    action();
  };
  const listening = useRef(onKey);
  listening.current = onKey;
  useEffect(() => {
    if (!props.listening) return undefined;
    const heard = (event: KeyboardEvent): void => listening.current(event);
    document.addEventListener('keydown', heard);
    return () => document.removeEventListener('keydown', heard);
  }, [props.listening]);

  useMediaKeys(name, { play: toggle, pause: toggle, seek, at: () => video.current?.currentTime ?? 0 });

  const { choices } = view;
  const adaptive = choices.sizes.length > 1;
  const shownSize = choices.sizes.find((size) => size.id === choices.shownSize)?.name;
  const height = Math.max(view.height, Math.round((view.width * 9) / 16));
  const qualityItems: MenuItem[] = adaptive
    ? [
        { id: 'size -1', name: 'Adaptive', ...(choices.size === -1 && shownSize !== undefined ? { note: shownSize } : {}) },
        ...[...choices.sizes].reverse().map((size) => ({ id: `size ${size.id}`, name: size.name })),
        { id: 'original', name: 'Original', note: 'one encode' },
      ]
    : QUALITIES.filter(([id]) => !/^\d/.test(id) || parseInt(id, 10) < height || id === props.quality).map(([id, words]) => ({
        id,
        name: words,
        ...(id === 'original' && props.quality === 'original' && view.height > 0 ? { note: `${view.width} × ${view.height}` } : {}),
        ...(id === 'adaptive' ? { note: 'several sizes' } : {}),
      }));
  const chooseQuality = (id: string): void => {
    if (id.startsWith('size ')) playback.current?.chooseSize(Number(id.slice(5)));
    else if (id !== props.quality) props.onQuality(id as Quality);
  };
  const label = adaptive ? (shownSize ?? 'Auto') : height > 0 ? `${height}p` : 'Quality';
  const playing = !view.paused && !view.ended;

  return (
    <div
      ref={stage}
      class={`player${calm && playing ? ' player-calm' : ''}`}
      tabIndex={-1}
      role="region"
      aria-label={`Player: ${name}`}
      onPointerMove={(event) => event.pointerType !== 'touch' && stir()}
      onFocusIn={(event) => (event.target as HTMLElement).matches(':focus-visible') && stir()}
      onPointerLeave={(event) => event.pointerType !== 'touch' && setCalm(true)}
    >
      <video
        ref={video}
        key={`${url} ${since}`}
        playsInline
        aria-label={name}
        onClick={(event) => {
          // A finger shows the controls or puts them away; a mouse plays and pauses.
          if ((event as unknown as PointerEvent).pointerType !== 'touch') toggle();
          else if (calm) stir();
          else setCalm(true);
        }}
        onDblClick={full}
      />
      {props.soundOnly && !props.waiting && (
        <div class="sound-only" aria-hidden="true">
          <AudioIcon />
          {props.source !== null && <Picture source={props.source} width={480} />}
        </div>
      )}
      {props.waiting && (
        <div class="veil veil-dark">
          <Ghost class="ghost ghost-busy" />
        </div>
      )}
      {!props.waiting && view.stalledAt !== null && <span class="spinner" aria-hidden="true" />}
      {view.blocked && (
        <button type="button" class="big-play" onClick={toggle}>
          <PlayIcon />
          <span class="sr">Play</span>
        </button>
      )}
      {view.silenced && (
        <button type="button" class="button sound" onClick={mute}>
          <MutedIcon />
          Turn the sound on
        </button>
      )}
      {!props.waiting && (
        <div class="controls">
          <SeekBar
            source={props.soundOnly ? null : props.source}
            duration={duration}
            position={view.seekingTo ?? view.position}
            buffered={view.buffered}
            ready={props.ready}
            map={props.map}
            onSeek={seek}
          />
          <p class="sr" id="ready-words">
            {readyWords(props.ready, duration)}
          </p>
          <div class="control-row">
            <button type="button" class="control" aria-label={playing ? 'Pause' : 'Play'} title={playing ? 'Pause (K)' : 'Play (K)'} onClick={toggle}>
              {playing ? <PauseIcon /> : <PlayIcon />}
            </button>
            <button type="button" class="control" aria-label={view.muted ? 'Sound on' : 'Sound off'} title={view.muted ? 'Sound on (M)' : 'Sound off (M)'} onClick={mute}>
              {view.muted || view.volume === 0 ? <MutedIcon /> : <VolumeIcon />}
            </button>
            <input
              type="range"
              class="volume"
              aria-label="Volume"
              min="0"
              max="1"
              step="0.05"
              value={view.muted ? 0 : view.volume}
              onInput={(event) => {
                if (video.current === null) return;
                video.current.volume = Number(event.currentTarget.value);
                video.current.muted = false;
              }}
            />
            <span class="time">
              {clock(view.seekingTo ?? view.position)} <span class="time-of">/ {duration > 0 ? clock(duration) : 'live'}</span>
            </span>
            {props.map?.open_ended === true && (
              <button
                type="button"
                class="control live-edge"
                data-there={duration - view.position < LIVE_EDGE_S}
                title="To what happens now"
                onClick={() => seek(duration - LIVE_EDGE_S / 2)}
              >
                Live
              </button>
            )}
            <span class="stretch" />
            {choices.subtitles.length > 0 && (
              <Menu
                label="Subtitles"
                class={choices.subtitle >= 0 ? 'menu-on' : ''}
                items={[{ id: '-1', name: 'Off' }, ...choices.subtitles.map((track) => ({ id: String(track.id), name: track.name }))]}
                chosen={String(choices.subtitle)}
                onChoose={(id) => playback.current?.chooseSubtitle(Number(id))}
              >
                <SubtitlesIcon />
              </Menu>
            )}
            {choices.audios.length > 1 && (
              <Menu
                label="Sound track"
                items={choices.audios.map((track) => ({ id: String(track.id), name: track.name }))}
                chosen={String(choices.audio)}
                onChoose={(id) => playback.current?.chooseAudio(Number(id))}
              >
                <AudioIcon />
              </Menu>
            )}
            {props.quality !== null && !props.soundOnly && (
              <Menu
                label={`Quality: ${label}`}
                class="menu-words"
                items={qualityItems}
                chosen={adaptive ? `size ${choices.size}` : props.quality}
                onChoose={chooseQuality}
              >
                {label}
              </Menu>
            )}
            <Menu
              label={`Speed: ${view.rate}×`}
              class="menu-words menu-speed"
              items={RATES.map((id) => ({ id, name: `${id}×` }))}
              chosen={String(view.rate)}
              onChoose={(id) => rate(Number(id))}
            >
              {`${view.rate}×`}
            </Menu>
            <button type="button" class="control control-wide" aria-label="Keys" title="Keys (?)" onClick={props.onKeys}>
              <KeysIcon />
            </button>
            {document.pictureInPictureEnabled && (
              <button
                type="button"
                class="control control-wide"
                aria-label="Picture in picture"
                title="Picture in picture"
                onClick={() => void video.current?.requestPictureInPicture().catch(() => undefined)}
              >
                <PipIcon />
              </button>
            )}
            <button type="button" class="control" aria-label="Full screen" title="Full screen (F)" onClick={full}>
              <FullIcon />
            </button>
          </div>
        </div>
      )}
    </div>
  );
}

interface MediaKeys {
  readonly play: () => void;
  readonly pause: () => void;
  readonly seek: (seconds: number) => void;
  readonly at: () => number;
}

/** Keys of keyboards and headsets, and the controls that the system shows elsewhere. */
function useMediaKeys(name: string, keys: MediaKeys): void {
  const current = useRef(keys);
  current.current = keys;
  useEffect(() => {
    if (!('mediaSession' in navigator)) return undefined;
    const session = navigator.mediaSession;
    session.metadata = new MediaMetadata({ title: name, artist: 'GhostStream' });
    const handlers: ReadonlyArray<readonly [MediaSessionAction, MediaSessionActionHandler]> = [
      ['play', () => current.current.play()],
      ['pause', () => current.current.pause()],
      ['seekbackward', (details) => current.current.seek(current.current.at() - (details.seekOffset ?? 10))],
      ['seekforward', (details) => current.current.seek(current.current.at() + (details.seekOffset ?? 10))],
      ['seekto', (details) => details.seekTime != null && current.current.seek(details.seekTime)],
    ];
    for (const [action, handler] of handlers) session.setActionHandler(action, handler);
    return () => {
      session.metadata = null;
      for (const [action] of handlers) session.setActionHandler(action, null);
    };
  }, [name]);
}
