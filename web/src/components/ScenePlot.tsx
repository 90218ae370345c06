import { fileSize } from '../format';
import type { SceneTile } from '../scenes';

/** The rate of every scene as a column as wide as the scene is long, and its quality as a line. */
export function ScenePlot({ tiles }: { readonly tiles: readonly SceneTile[] }) {
  const frames = tiles.reduce((sum, tile) => sum + tile.frames, 0);
  const rates = tiles.flatMap((tile) => (tile.kbps === null ? [] : [tile.kbps]));
  if (frames === 0 || rates.length === 0) return null;
  const top = Math.max(...rates);
  const x = (frame: number): number => (1000 * frame) / frames;
  const y = (kbps: number): number => 100 - (96 * kbps) / top;
  const scores = tiles.filter((tile) => tile.quality !== null);
  const [low, high] = [Math.min(...scores.map((tile) => tile.quality ?? 0)), Math.max(...scores.map((tile) => tile.quality ?? 0))];
  const score = (quality: number): number => 96 - (92 * (quality - low)) / Math.max(high - low, 0.001);
  const line = scores.map((tile) => `${x(tile.begins + tile.frames / 2).toFixed(1)},${score(tile.quality ?? 0).toFixed(1)}`).join(' ');
  return (
    <figure class="scene-plot">
      <figcaption>
        <span>Rate of each scene, at most {Math.round(top)} kbit/s</span>
        {scores.length > 1 && (
          <span class="key-quality">
            quality, {low.toFixed(1)} to {high.toFixed(1)}
          </span>
        )}
      </figcaption>
      <svg viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" aria-label={`Rates of ${rates.length} scenes, at most ${Math.round(top)} kbit/s`}>
        {tiles.map((tile) =>
          tile.kbps === null ? (
            <rect key={tile.id} class={`column column-${tile.state}`} x={x(tile.begins)} width={Math.max(1, x(tile.frames) - 1)} y="97" height="3" />
          ) : (
            <rect key={tile.id} class="column" x={x(tile.begins)} width={Math.max(1, x(tile.frames) - 1)} y={y(tile.kbps)} height={100 - y(tile.kbps)}>
              <title>{`${tile.id}: ${Math.round(tile.kbps)} kbit/s, ${fileSize(tile.bytes)}`}</title>
            </rect>
          ),
        )}
        {scores.length > 1 && <polyline class="quality" points={line} />}
      </svg>
    </figure>
  );
}
