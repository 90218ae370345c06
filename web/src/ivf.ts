/**
 * Scenes come as IVF, which browsers do not play; the same frames in WebM they do. Pure.
 *
 * IVF: a header of 32 bytes (`DKIF`, FourCC at 8, sizes at 12 and 14, rate at 16, scale at 20), then
 * frames of length (4 bytes), time (8 bytes) and data. WebM: RFC 8794 and RFC 9559.
 */

interface Ivf {
  readonly fourcc: string;
  readonly width: number;
  readonly height: number;
  /** Seconds that a time counts. */
  readonly unit: number;
  readonly frames: ReadonlyArray<{ readonly time: number; readonly data: Uint8Array }>;
}

/** Reads an IVF file; null when it is none. A frame that is cut off is left out. */
export function readIvf(file: Uint8Array): Ivf | null {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length < 32 || view.getUint32(0) !== 0x444b4946) return null;
  const fourcc = String.fromCharCode(...file.subarray(8, 12));
  const [rate, scale] = [view.getUint32(16, true), view.getUint32(20, true)];
  const frames: Array<{ time: number; data: Uint8Array }> = [];
  let at = Math.max(32, view.getUint16(6, true));
  while (at + 12 <= file.length) {
    const size = view.getUint32(at, true);
    if (at + 12 + size > file.length) break;
    frames.push({ time: Number(view.getBigUint64(at + 4, true)), data: file.subarray(at + 12, at + 12 + size) });
    at += 12 + size;
  }
  return {
    fourcc,
    width: view.getUint16(12, true),
    height: view.getUint16(14, true),
    unit: rate > 0 ? scale / rate : 1 / 25,
    frames,
  };
}

const CODECS: Readonly<Record<string, string>> = { AV01: 'V_AV1', VP90: 'V_VP9', VP80: 'V_VP8' };

type Bytes = readonly number[] | Uint8Array;

function joined(parts: readonly Bytes[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** A number in as few bytes as it takes. */
function unsigned(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; rest > 0 || bytes.length === 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return bytes;
}

/** An element: its id, its size in eight bytes, its content. */
function element(id: number, ...content: Bytes[]): Uint8Array {
  const body = joined(content);
  const size = unsigned(body.length);
  return joined([unsigned(id), [0x01, ...new Array<number>(7 - size.length).fill(0), ...size], body]);
}

const letters = (text: string): number[] => Array.from(text, (letter) => letter.charCodeAt(0));

function float(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setFloat64(0, value);
  return bytes;
}

/** Longest cluster, milliseconds: times within it have 15 bits. */
const CLUSTER_MS = 30_000;

/** Whether a frame can be begun with: in AV1 one that holds a sequence header, in VP9 and VP8 by its bits. */
function isKey(fourcc: string, data: Uint8Array): boolean {
  const first = data[0] ?? 0;
  if (fourcc === 'VP80') return (first & 1) === 0;
  if (fourcc === 'VP90') return (first & 0xc0) === 0x80 && (first & 0x08) === 0 && (first & 0x04) === 0;
  for (let at = 0; at < data.length; ) {
    const header = data[at] ?? 0;
    const type = (header >> 3) & 15;
    if (type === 1) return true;
    if ((header & 2) === 0) return false;
    at += (header & 4) === 0 ? 1 : 2;
    let size = 0;
    for (let i = 0; i < 8; i += 1) {
      const byte = data[at] ?? 0;
      at += 1;
      size += (byte & 127) * 2 ** (7 * i);
      if ((byte & 128) === 0) break;
    }
    at += size;
  }
  return false;
}

/** The scene as WebM; null when its codec is none of WebM's, or there is no frame. */
export function webmOf(file: Uint8Array): Uint8Array | null {
  const ivf = readIvf(file);
  const codec = ivf === null ? undefined : CODECS[ivf.fourcc];
  const first = ivf?.frames[0];
  if (ivf === null || codec === undefined || first === undefined) return null;
  const ms = (time: number): number => Math.round((time - first.time) * ivf.unit * 1000);
  const duration = ms(ivf.frames[ivf.frames.length - 1]?.time ?? first.time) + ivf.unit * 1000;

  const clusters: Uint8Array[] = [];
  let begin = 0;
  let blocks: Uint8Array[] = [];
  const close = (): void => {
    if (blocks.length > 0) clusters.push(element(0x1f43b675, element(0xe7, unsigned(begin)), ...blocks));
    blocks = [];
  };
  for (const frame of ivf.frames) {
    const at = ms(frame.time);
    const key = isKey(ivf.fourcc, frame.data);
    if (blocks.length === 0 || at - begin > CLUSTER_MS) {
      close();
      begin = at;
    }
    const relative = at - begin;
    blocks.push(element(0xa3, [0x81, relative >> 8, relative & 255, key ? 0x80 : 0], frame.data));
  }
  close();

  const header = element(
    0x1a45dfa3,
    element(0x4286, [1]),
    element(0x42f7, [1]),
    element(0x42f2, [4]),
    element(0x42f3, [8]),
    element(0x4282, letters('webm')),
    element(0x4287, [4]),
    element(0x4285, [2]),
  );
  const info = element(
    0x1549a966,
    element(0x2ad7b1, unsigned(1_000_000)),
    element(0x4489, float(duration)),
    element(0x4d80, letters('GhostStream')),
    element(0x5741, letters('GhostStream')),
  );
  const track = element(
    0xae,
    element(0xd7, [1]),
    element(0x73c5, [1]),
    element(0x83, [1]),
    element(0x86, letters(codec)),
    element(0xe0, element(0xb0, unsigned(ivf.width)), element(0xba, unsigned(ivf.height))),
  );
  return joined([header, element(0x18538067, info, element(0x1654ae6b, track), ...clusters)]);
}
