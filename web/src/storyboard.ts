/** The pictures of a film that the seek bar shows: which sheet, and where on it. Pure. */

/** One picture; `sheet` is the query of the sheet's address. */
export interface Tile {
  readonly from: number;
  readonly to: number;
  readonly sheet: string;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** Pictures enough to find a scene, few enough for a long film: about a hundred and twenty. */
export function intervalFor(duration: number): number {
  return Math.max(2, Math.ceil(duration / 120));
}

function seconds(stamp: string): number {
  return stamp.split(':').reduce((sum, part) => sum * 60 + parseFloat(part), 0);
}

/** Reads the WebVTT of a storyboard; what is not understood is left out. */
export function readStoryboard(vtt: string): Tile[] {
  const tiles: Tile[] = [];
  for (const cue of vtt.split(/\n\s*\n/)) {
    const times = /(\d[\d:.]+)\s+-->\s+(\d[\d:.]+)/.exec(cue);
    const place = /\?(\S+)#xywh=(\d+),(\d+),(\d+),(\d+)/.exec(cue);
    if (times === null || place === null) continue;
    const [x, y, width, height] = place.slice(2).map(Number) as [number, number, number, number];
    const [from, to] = [seconds(times[1] ?? ''), seconds(times[2] ?? '')];
    tiles.push({ from, to, sheet: place[1] ?? '', x, y, width, height });
  }
  return tiles;
}

/** The picture for a time; null when there is none. */
export function tileAt(tiles: readonly Tile[], time: number): Tile | null {
  let [low, high] = [0, tiles.length - 1];
  while (low <= high) {
    const middle = (low + high) >> 1;
    const tile = tiles[middle];
    if (tile === undefined) return null;
    if (time < tile.from) high = middle - 1;
    else if (time >= tile.to && middle < tiles.length - 1) low = middle + 1;
    else return tile;
  }
  return null;
}
