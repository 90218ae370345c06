import { clock } from '../format';
import type { Stretch } from '../ready';

interface Props {
  readonly stretches: readonly Stretch[];
  readonly duration: number | null;
  readonly position: number;
}

/** A thin bar as long as the film: what is ready is filled, a mark shows the playing position. */
export function ReadyMap({ stretches, duration, position }: Props) {
  const known = duration !== null;
  const label = !known
    ? 'Length not known yet'
    : stretches.length === 0
      ? 'Nothing is ready yet'
      : `Ready: ${stretches.map((part) => `${clock(part.from)} to ${clock(part.to)}`).join(', ')}`;
  const x = (seconds: number): number => (known ? (1000 * Math.min(seconds, duration)) / duration : 0);
  return (
    <svg class="map" viewBox="0 0 1000 10" preserveAspectRatio="none" role="img" aria-label={label}>
      <rect class="map-film" width="1000" height="10" />
      {known &&
        stretches.map((part) => (
          <rect class="map-ready" key={part.from} x={x(part.from)} width={Math.max(1, x(part.to) - x(part.from))} height="10" />
        ))}
      {known && <rect class="map-head" x={Math.max(0, x(position) - 1.5)} width="3" height="10" />}
    </svg>
  );
}
