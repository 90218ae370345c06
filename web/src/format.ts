/** Words and figures for people. Pure. */

/** Seconds as a clock: `0:07`, `12:34`, `1:02:03`. Fractions are cut off. */
export function clock(seconds: number): string {
  if (!Number.isFinite(seconds)) return '-:--';
  const whole = Math.max(0, Math.floor(seconds));
  const h = Math.floor(whole / 3600);
  const m = Math.floor((whole % 3600) / 60);
  const s = String(whole % 60).padStart(2, '0');
  return h > 0 ? `${h}:${String(m).padStart(2, '0')}:${s}` : `${m}:${s}`;
}

/** A length of time in one unit: `30 s`, `5 min`, `2 h 5 min`. */
export function span(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 120) return `${whole} s`;
  const minutes = Math.round(whole / 60);
  if (minutes < 120) return `${minutes} min`;
  const rest = minutes % 60;
  return rest === 0 ? `${minutes / 60} h` : `${Math.floor(minutes / 60)} h ${rest} min`;
}

/** A part of a whole (0..1) as a percentage that says 0 and 100 only when it is so. */
export function percent(fraction: number): string {
  if (!(fraction > 0)) return '0 %';
  if (fraction >= 1) return '100 %';
  return fraction < 0.01 ? 'less than 1 %' : `${Math.min(99, Math.floor(fraction * 100))} %`;
}

/** Encoding speed relative to playing time: `0.8x`, `2.3x`, `14x`. */
export function speed(timesRealTime: number): string {
  return timesRealTime < 10 ? `${timesRealTime.toFixed(1)}x` : `${Math.round(timesRealTime)}x`;
}

/** A file size in decimal units: `512 B`, `4.1 MB`, `12 GB`. */
export function fileSize(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 10 ? 0 : 1;
  return `${value.toFixed(digits)} ${units[unit]}`;
}

/** The short name of a source: its last path part, decoded, else its host, else all of it. */
export function sourceName(source: string): string {
  const text = source.trim();
  const bare = text.replace(/[?#].*$/, '').replace(/\/+$/, '');
  const last = bare.slice(bare.lastIndexOf('/') + 1);
  if (last === '') return text;
  try {
    return decodeURIComponent(last);
  } catch {
    return last;
  }
}

/** How long ago something was, from milliseconds: `just now`, `5 min ago`. */
export function ago(ms: number): string {
  if (!Number.isFinite(ms)) return '';
  return ms < 10_000 ? 'just now' : `${span(ms / 1000)} ago`;
}

/** A point in time as people here write it. */
export function moment(time: string | null): string {
  if (time === null) return '';
  const at = new Date(time);
  return Number.isNaN(at.getTime()) ? time : at.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
}
