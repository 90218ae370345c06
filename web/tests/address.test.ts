import { describe, expect, it } from 'vitest';
import { addressForOthers, movedTo, baseOf, pageAddress, readDeepLink, readTime, sameOrigin } from '../src/address';

describe('deep links', () => {
  it('reads the job and the source', () => {
    expect(readDeepLink('?job=abc')).toEqual({ job: 'abc', source: null, at: 0 });
    expect(readDeepLink('?source=https%3A%2F%2Fh%2Ff.mkv%3Fa%3D1%26b%3D2')).toEqual({
      job: null,
      source: 'https://h/f.mkv?a=1&b=2',
      at: 0,
    });
    expect(readDeepLink('?job=&source=%20&t=x')).toEqual({ job: null, source: null, at: 0 });
  });
  it('writes an address that reads back as the same source', () => {
    const source = 'http://h/ä b.mkv?x=1&y=#2';
    const address = pageAddress('http://gw:8765/?job=old#x', source, 90.7);
    expect(readDeepLink(new URL(address).search)).toEqual({ job: null, source, at: 90 });
  });
  it('reads times as people write them', () => {
    const times: Array<[string, number | null]> = [
      ['90', 90],
      ['90s', 90],
      ['1:30', 90],
      ['1:02:03', 3723],
      ['1h2m3s', 3723],
      ['2m', 120],
      ['', null],
      ['soon', null],
      ['1:2:3:4', null],
      ['-5', null],
    ];
    for (const [text, seconds] of times) expect(readTime(text), text).toBe(seconds);
  });
});

describe('the stream address', () => {
  it('keeps path and token, and takes the origin of the page', () => {
    expect(sameOrigin('http://192.168.1.5:8765/stream/1/master.m3u8?gst=t', 'http://nas.local:8765/')).toBe(
      'http://nas.local:8765/stream/1/master.m3u8?gst=t',
    );
    expect(sameOrigin('http://127.0.0.1:8765/stream/1/master.m3u8', 'https://film.example/')).toBe(
      'https://film.example/stream/1/master.m3u8',
    );
    expect(sameOrigin('/stream/1/master.m3u8', 'http://a/')).toBe('http://a/stream/1/master.m3u8');
  });
  it('keeps the path a proxy adds, once', () => {
    const base = baseOf('https://h/video/?job=1');
    expect(base).toBe('https://h/video/');
    expect(sameOrigin('http://gw:8765/stream/1/m.m3u8', base)).toBe('https://h/video/stream/1/m.m3u8');
    expect(sameOrigin('https://h/video/stream/1/m.m3u8', base)).toBe('https://h/video/stream/1/m.m3u8');
  });
});

describe('the address for other devices', () => {
  it('is the one of the page, if that is not the machine itself', () => {
    expect(addressForOthers('http://nas:8765/', null)).toBe('http://nas:8765/');
    expect(addressForOthers('https://films.example/gs/', 'http://10.0.0.1:8765')).toBe('https://films.example/gs/');
  });
  it('is what the gateway says otherwise', () => {
    for (const own of ['http://localhost:8765/', 'http://127.0.0.1:8765/', 'http://[::1]:8765/']) {
      expect(addressForOthers(own, 'http://192.168.1.20:8765')).toBe('http://192.168.1.20:8765/');
      expect(addressForOthers(own, null)).toBeNull();
      expect(addressForOthers(own, 'http://localhost:8765')).toBeNull();
    }
  });
  it('takes the path and the query of a file along', () => {
    const there = 'http://192.168.1.20:8765/';
    expect(movedTo('http://localhost:8765/stream/a/master.m3u8?token=1', 'http://localhost:8765/', there)).toBe(
      `${there}stream/a/master.m3u8?token=1`,
    );
    expect(movedTo('http://gw/gs/stream/a/master.m3u8', 'http://proxy/gs/', 'http://proxy/gs/')).toBe('http://proxy/gs/stream/a/master.m3u8');
  });
});
