import type { ComponentChildren } from 'preact';
import { useRef } from 'preact/hooks';
import type { StreamDetail, StreamTrack } from '../client';
import { clock, percent, span, speed } from '../format';

interface Props {
  readonly stream: StreamDetail;
  /** Where the viewer is, in seconds. */
  readonly position: number;
  /** Speeds of the last minutes, oldest first; see `remember`. */
  readonly speeds: readonly number[];
  readonly onSeek: (seconds: number) => void;
}

/** Speeds that are kept: two minutes at one a second. */
const MOST_SPEEDS = 120;

/** The speeds with one more; those of another stream are forgotten by the caller. */
export function remember(speeds: readonly number[], now: number): readonly number[] {
  return [...speeds.slice(-(MOST_SPEEDS - 1)), now];
}

/** How the stream is made: of every track what is there, which encoder works where, and how fast. */
export function LiveMap({ stream, position, speeds, onSeek }: Props) {
  const { map } = stream;
  if (map === null) return <p class="note">The source is being probed.</p>;
  // A live film has the length that it has so far, and none before its first segment.
  const duration = map.duration ?? 0;
  const share = (seconds: number): number => (duration > 0 ? (100 * Math.min(Math.max(seconds, 0), duration)) / duration : 0);
  const working = map.tracks.flatMap((track) => track.heads).filter((head) => !head.paused).length;
  return (
    <div class="live-map">
      <div class="live-figures">
        <Figure label="Speed" value={stream.speed > 0 ? `${speed(stream.speed)}` : 'idle'} note="of real time">
          <Spark values={speeds} />
        </Figure>
        <Figure
          label="Ready"
          value={map.segments === null ? clock(duration) : percent(stream.progress / 100)}
          note={map.segments === null ? 'so far' : `of ${span(duration)}`}
        />
        <Figure label="Encoders" value={String(working)} note={working === stream.encoders ? 'at work' : `of ${stream.encoders} at work`} />
        <Figure
          label="Made by"
          value={stream.encoded_by ?? '…'}
          note={stream.eta_seconds !== null && stream.speed > 0 ? `all of it in ${span(stream.eta_seconds)}` : (stream.phase ?? '')}
        />
      </div>
      <div class="lanes">
        {map.tracks.map((track) => (
          <Lane key={track.id} track={track} duration={duration} position={share(position)} share={share} onSeek={onSeek} />
        ))}
        <div class="lane-axis" aria-hidden="true">
          {[0, 0.25, 0.5, 0.75, 1].map((part) => (
            <span key={part}>{clock(duration * part)}</span>
          ))}
        </div>
      </div>
      <p class="legend" aria-hidden="true">
        <span class="key-ready">ready</span>
        <span class="key-head">an encoder at work</span>
        <span class="key-paused">an encoder held back: far enough ahead</span>
        <span class="key-here">you</span>
      </p>
    </div>
  );
}

function Figure({ label, value, note, children }: { label: string; value: string; note: string; children?: ComponentChildren }) {
  return (
    <div class="figure">
      <span class="figure-label">{label}</span>
      <strong>{value}</strong>
      <span class="figure-note">{note}</span>
      {children}
    </div>
  );
}

interface LaneProps {
  readonly track: StreamTrack;
  readonly duration: number;
  readonly position: number;
  readonly share: (seconds: number) => number;
  readonly onSeek: (seconds: number) => void;
}

/** What is told of an encoder, where it stands. */
function headWords(head: StreamTrack['heads'][number]): string {
  if (head.paused) return 'held back';
  return head.speed === null ? 'starting' : speed(head.speed);
}

function Lane({ track, duration, position, share, onSeek }: LaneProps) {
  const lane = useRef<HTMLDivElement>(null);
  const by = track.accelerator !== null ? `${track.encoder} on ${track.accelerator}` : track.encoder;
  const ready = track.ready.map(([from, to]) => `${clock(from)} to ${clock(to)}`).join(', ') || 'nothing yet';
  const heads = track.heads.map((head) => `an encoder at ${clock(head.position)}, ${headWords(head)}`).join('; ');
  return (
    <div class="lane">
      <div class="lane-name">
        <strong>{track.name ?? track.id}</strong>
        <span>
          {track.codec} · {by === 'copy' ? 'copied' : by}
        </span>
      </div>
      <div
        ref={lane}
        class="lane-bar"
        role="img"
        aria-label={`Ready: ${ready}${heads === '' ? '' : `; ${heads}`}`}
        onClick={(event) => {
          const box = lane.current?.getBoundingClientRect();
          if (box !== undefined && box.width > 0) onSeek(((event.clientX - box.left) / box.width) * duration);
        }}
      >
        <svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
          {track.ready.map(([from, to]) => (
            <rect class="lane-ready" key={from} x={share(from)} width={Math.max(0.2, share(to) - share(from))} height="10" />
          ))}
          {track.heads.map((head) => {
            // From the end of what is ready to where the encoder is.
            const begin = track.ready.reduce((last, [, to]) => (to <= head.position + 0.01 ? Math.max(last, to) : last), 0);
            const near = head.position - begin < duration / 20 ? begin : head.position;
            return (
              <rect class="lane-growing" key={head.segment} x={share(near)} width={Math.max(0.2, share(head.position) - share(near))} height="10" />
            );
          })}
        </svg>
        {track.heads.map((head, i) => (
          <span
            key={i}
            class={`lane-head${head.paused ? ' lane-head-paused' : ''}${share(head.position) > 82 ? ' lane-head-left' : ''}`}
            style={{ left: `${share(head.position)}%` }}
          >
            <b>{headWords(head)}</b>
          </span>
        ))}
        <span class="lane-here" style={{ left: `${position}%` }} />
      </div>
      {track.last_failure !== null && <p class="lane-failure">{track.last_failure}</p>}
    </div>
  );
}

/** The speeds as a line; the dashed one is real time. */
function Spark({ values }: { readonly values: readonly number[] }) {
  if (values.length < 2) return null;
  const top = Math.max(2, ...values);
  const x = (i: number): number => (100 * i) / (MOST_SPEEDS - 1);
  const y = (value: number): number => 24 - (22 * value) / top;
  const points = values.map((value, i) => `${x(i).toFixed(1)},${y(value).toFixed(1)}`).join(' ');
  return (
    <svg class="spark" viewBox="0 0 100 25" preserveAspectRatio="none" aria-hidden="true">
      <line class="spark-real" x1="0" x2="100" y1={y(1)} y2={y(1)} />
      <polyline class="spark-line" points={points} />
    </svg>
  );
}
