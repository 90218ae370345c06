import { useEffect, useRef, useState } from 'preact/hooks';
import { useShared } from '../shared';
import type { StreamMap } from '../client';
import { clock, span } from '../format';
import type { Stretch } from '../ready';
import { type Tile, intervalFor, readStoryboard, tileAt } from '../storyboard';

interface Props {
  /** What is played, for the pictures; null when it has none. */
  readonly source: string | null;
  readonly duration: number;
  readonly position: number;
  readonly buffered: ReadonlyArray<readonly [number, number]>;
  /** What the gateway has. */
  readonly ready: readonly Stretch[];
  readonly map: StreamMap | null;
  readonly onSeek: (seconds: number) => void;
}

const PICTURE_WIDTH = 192;

/** Where one is in the film, with what is ready, who encodes where, and a picture of where one points. */
export function SeekBar({ source, duration, position, buffered, ready, map, onSeek }: Props) {
  const bar = useRef<HTMLDivElement>(null);
  const [pointed, setPointed] = useState<number | null>(null);
  const [dragged, setDragged] = useState<number | null>(null);
  const shown = dragged ?? position;
  const share = (seconds: number): number => (duration > 0 ? (100 * Math.min(Math.max(seconds, 0), duration)) / duration : 0);
  const timeAt = (clientX: number): number => {
    const box = bar.current?.getBoundingClientRect();
    if (box === undefined || box.width === 0) return 0;
    return (Math.min(Math.max(clientX - box.left, 0), box.width) / box.width) * duration;
  };
  const heads = (map?.tracks ?? []).filter((track) => track.kind === 'video').flatMap((track) => track.heads);

  const byKey = (event: KeyboardEvent): void => {
    const step = { ArrowLeft: -5, ArrowRight: 5, ArrowDown: -5, ArrowUp: 5, PageDown: -60, PageUp: 60 }[event.key];
    const target = event.key === 'Home' ? 0 : event.key === 'End' ? duration - 1 : step === undefined ? null : shown + step;
    if (target === null) return;
    event.preventDefault();
    event.stopPropagation();
    onSeek(Math.min(Math.max(target, 0), duration));
  };

  return (
    <div
      ref={bar}
      class="seek"
      role="slider"
      tabIndex={0}
      aria-label="Position"
      aria-valuemin={0}
      aria-valuemax={Math.round(duration)}
      aria-valuenow={Math.round(shown)}
      aria-valuetext={`${clock(shown)} of ${clock(duration)}`}
      aria-disabled={duration === 0}
      onKeyDown={byKey}
      onPointerMove={(event) => {
        setPointed(timeAt(event.clientX));
        if (dragged !== null) setDragged(timeAt(event.clientX));
      }}
      onPointerLeave={() => setPointed(null)}
      onPointerDown={(event) => {
        if (event.button !== 0 || duration === 0) return;
        event.currentTarget.setPointerCapture(event.pointerId);
        setDragged(timeAt(event.clientX));
      }}
      onPointerUp={(event) => {
        if (dragged === null) return;
        setDragged(null);
        onSeek(timeAt(event.clientX));
      }}
      onPointerCancel={() => setDragged(null)}
    >
      <svg class="seek-rail" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">
        <rect class="seek-film" width="100" height="4" />
        {ready.map((part) => (
          <rect class="seek-ready" key={part.from} x={share(part.from)} width={Math.max(0.2, share(part.to) - share(part.from))} height="4" />
        ))}
        {buffered.map(([from, to]) => (
          <rect class="seek-buffered" key={from} x={share(from)} width={share(to) - share(from)} height="4" />
        ))}
        <rect class="seek-played" width={share(shown)} height="4" />
        {heads.map((head) => (
          <rect
            class={head.paused ? 'seek-head seek-head-paused' : 'seek-head'}
            key={`${head.segment} ${head.position}`}
            x={Math.max(0, share(head.position) - 0.35)}
            width="0.7"
            height="4"
          />
        ))}
      </svg>
      <span class="seek-knob" style={{ left: `${share(shown)}%` }} aria-hidden="true" />
      {pointed !== null && duration > 0 && (
        <Bubble source={source} duration={duration} time={dragged ?? pointed} share={share(dragged ?? pointed)} />
      )}
    </div>
  );
}

/** The storyboard of one film; its sheets are fetched when they are pointed at. */
class Board {
  tiles: readonly Tile[] = [];
  readonly sheets = new Map<string, Promise<ImageBitmap>>();
}

const boards = new Map<string, Promise<Board>>();

/** The time, and above it the picture, of where one points. */
function Bubble({ source, duration, time, share }: { source: string | null; duration: number; time: number; share: number }) {
  const { gateway } = useShared();
  const canvas = useRef<HTMLCanvasElement>(null);
  const [size, setSize] = useState<readonly [number, number] | null>(null);

  useEffect(() => {
    if (source === null) return undefined;
    let stale = false;
    const key = `${source} ${intervalFor(duration)}`;
    const never = new AbortController().signal;
    let board = boards.get(key);
    if (board === undefined) {
      board = gateway.storyboard(source, intervalFor(duration), PICTURE_WIDTH, never).then((vtt) => {
        const found = new Board();
        found.tiles = readStoryboard(vtt);
        return found;
      });
      board.catch(() => boards.delete(key));
      boards.set(key, board);
    }
    void (async () => {
      const { tiles, sheets } = await board;
      const tile = tileAt(tiles, time);
      if (tile === null || stale) return;
      let sheet = sheets.get(tile.sheet);
      if (sheet === undefined) {
        sheet = gateway.sheet(tile.sheet, never).then((blob) => createImageBitmap(blob));
        sheet.catch(() => sheets.delete(tile.sheet));
        sheets.set(tile.sheet, sheet);
      }
      const picture = await sheet;
      const target = canvas.current;
      if (stale || target === null) return;
      [target.width, target.height] = [tile.width, tile.height];
      target.getContext('2d')?.drawImage(picture, tile.x, tile.y, tile.width, tile.height, 0, 0, tile.width, tile.height);
      setSize([tile.width, tile.height]);
    })().catch(() => undefined);
    return () => {
      stale = true;
    };
  }, [source, Math.floor(time / intervalFor(duration)), duration]);

  return (
    <div class="bubble" style={{ '--at': `${share}%` }} aria-hidden="true">
      <canvas ref={canvas} class={size === null ? 'bubble-none' : 'bubble-picture'} />
      <span>{clock(time)}</span>
    </div>
  );
}

/** For those who hear the page: what is ready, in words. */
export function readyWords(ready: readonly Stretch[], duration: number): string {
  if (duration === 0) return 'Length not known yet';
  if (ready.length === 0) return 'Nothing is ready yet';
  const all = ready.reduce((sum, part) => sum + part.to - part.from, 0);
  if (all >= duration - 0.1) return `All ${span(duration)} are ready`;
  return `Ready: ${ready.map((part) => `${clock(part.from)} to ${clock(part.to)}`).join(', ')}`;
}
