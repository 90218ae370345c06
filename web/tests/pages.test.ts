import { describe, expect, it } from 'vitest';
import { quoted, ways } from '../src/connect';
import { readIvf, webmOf } from '../src/ivf';
import { hashOf, readRoute } from '../src/route';
import { projectTone, rateOf, shareOf, tilesOf } from '../src/scenes';
import { intervalFor, readStoryboard, tileAt } from '../src/storyboard';

describe('routes', () => {
  it('are read as they are written', () => {
    expect(readRoute(hashOf('scenes', 'a/b %'))).toEqual({ page: 'scenes', detail: 'a/b %' });
    expect(readRoute('#/jobs')).toEqual({ page: 'jobs', detail: null });
    for (const other of ['', '#', '#/', '#/nothing', '#x']) expect(readRoute(other).page).toBe('watch');
    expect(readRoute('#/scenes/%E0%A4%A').detail).toBeNull();
  });
});

describe('a storyboard', () => {
  const vtt = [0, 1, 2]
    .map((i) => `00:00:0${i * 2}.000 --> 00:00:0${i * 2 + 2}.000\nhttp://gw/storyboard?url=a%2Fb.mkv&sheet=0#xywh=${i * 192},0,192,108`)
    .join('\n\n');
  it('finds the picture of a time', () => {
    const tiles = readStoryboard(`WEBVTT\n\n${vtt}\n`);
    expect(tiles).toHaveLength(3);
    expect(tileAt(tiles, 3.9)).toMatchObject({ from: 2, x: 192, sheet: 'url=a%2Fb.mkv&sheet=0' });
    expect(tileAt(tiles, 99)?.from).toBe(4);
    expect(tileAt([], 1)).toBeNull();
  });
  it('has about a hundred pictures at most', () => {
    expect(intervalFor(10)).toBe(2);
    expect(7200 / intervalFor(7200)).toBeLessThanOrEqual(120);
  });
});

describe('commands', () => {
  it('are safe to paste', () => {
    expect(quoted("a'b c")).toBe(`'a'\\''b c'`);
    const engine = ways('http://nas:8765/', true).find((way) => way.id === 'engine');
    expect(engine?.command).toBe('ghoststream engine --server http://nas:8765 --api-key YOUR_API_KEY');
  });
});

describe('a project of scenes', () => {
  const project = {
    projectid: 'p1',
    input: 'clip.mkv',
    frames: 48,
    total_frames: 144,
    jobs: 2,
    total_jobs: 3,
    status: 'ready',
    priority: 0,
    workers: ['00001'],
    scenes: {
      '00002': { frames: 48, filesize: 0, bad: 'frame mismatch' },
      '00000': { frames: 48, filesize: 6000 },
      '00001': { frames: 48, filesize: 0 },
    },
  };
  it('is drawn in the order of the film', () => {
    const tiles = tilesOf(project);
    expect(tiles.map((tile) => `${tile.id} ${tile.state} ${tile.begins}`)).toEqual(['00000 done 0', '00001 running 48', '00002 bad 96']);
    expect(tiles[0]?.kbps).toBe(24);
    expect(shareOf(project)).toBeCloseTo(1 / 3);
  });
  it('knows the rate of its film', () => {
    expect(rateOf('24000/1001')).toBeCloseTo(23.976);
    expect(rateOf('25')).toBe(25);
    for (const none of [null, undefined, '', '0/1', 'x', '25/0']) expect(rateOf(none)).toBeNull();
    const measured = tilesOf({ ...project, frame_rate: '48/1', scenes: { '00000': { frames: 48, filesize: 6000, quality: { metric: 'vmaf', value: 95.2, quantiser: 30 } } } });
    expect(measured[0]).toMatchObject({ kbps: 48, quality: 95.2 });
  });
  it('has a tone', () => {
    expect(projectTone('complete')).toBe('done');
    expect(projectTone('failed: no encoder')).toBe('failed');
    expect(projectTone('splitting')).toBe('leased');
  });
});

describe('a scene as WebM', () => {
  const ivf = (frames: number[][]): Uint8Array => {
    const bytes: number[] = [...'DKIF'].map((c) => c.charCodeAt(0));
    bytes.push(0, 0, 32, 0, ...[...'VP90'].map((c) => c.charCodeAt(0)), 160, 0, 90, 0, 25, 0, 0, 0, 1, 0, 0, 0, frames.length, 0, 0, 0, 0, 0, 0, 0);
    frames.forEach((frame, i) => bytes.push(frame.length, 0, 0, 0, i, 0, 0, 0, 0, 0, 0, 0, ...frame));
    return Uint8Array.from(bytes);
  };
  it('keeps every frame, and what is cut off is left out', () => {
    const whole = ivf([[0x82, 1], [0x86, 2], [0x86, 3]]);
    expect(readIvf(whole)).toMatchObject({ fourcc: 'VP90', width: 160, height: 90, unit: 0.04 });
    expect(readIvf(whole)?.frames).toHaveLength(3);
    expect(readIvf(whole.subarray(0, whole.length - 1))?.frames).toHaveLength(2);
    expect(readIvf(Uint8Array.from([1, 2, 3]))).toBeNull();
  });
  it('has a block a frame, the first one a key', () => {
    const webm = webmOf(ivf([[0x82, 1], [0x86, 2]]));
    expect(webm).not.toBeNull();
    const hex = Array.from(webm ?? [], (byte) => byte.toString(16).padStart(2, '0')).join('');
    expect(hex.startsWith('1a45dfa3')).toBe(true);
    expect(hex).toContain('565f565039');
    // SimpleBlock of six bytes: track 1, its time in milliseconds, whether it is a key frame, the data.
    expect(hex).toContain('a30100000000000006' + '81' + '0000' + '80' + '8201');
    expect(hex).toContain('a30100000000000006' + '81' + '0028' + '00' + '8602');
  });
  it('is not made of other files', () => {
    expect(webmOf(new Uint8Array(100))).toBeNull();
    expect(webmOf(ivf([]))).toBeNull();
  });
});
