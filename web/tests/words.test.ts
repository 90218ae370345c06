import { describe, expect, it } from 'vitest';
import { trackName } from '../src/player';
import { clock, fileSize, percent, sourceName, span, speed } from '../src/format';

describe('figures', () => {
  it('writes times as a clock', () => {
    expect([0, 7.9, 754, 3723, Number.NaN].map(clock)).toEqual(['0:00', '0:07', '12:34', '1:02:03', '-:--']);
  });
  it('writes lengths of time in one unit', () => {
    expect([0.4, 30, 119, 120, 7200, 7500].map(span)).toEqual(['0 s', '30 s', '119 s', '2 min', '2 h', '2 h 5 min']);
  });
  it('says 0 and 100 percent only when it is so', () => {
    expect([0, 0.0001, 0.149, 0.999, 1].map(percent)).toEqual(['0 %', 'less than 1 %', '14 %', '99 %', '100 %']);
  });
  it('writes speeds and sizes', () => {
    expect([0.83, 2.3, 14.2].map(speed)).toEqual(['0.8x', '2.3x', '14x']);
    expect([512, 4_139_823, 999_600, 12e9].map(fileSize)).toEqual(['512 B', '4.1 MB', '1.0 MB', '12 GB']);
  });
  it('names a source by its last part', () => {
    expect(sourceName('https://h/a/My%20Film.mkv?token=1')).toBe('My Film.mkv');
    expect(sourceName('/films/100%.mp4')).toBe('100%.mp4');
    expect(sourceName('https://host/')).toBe('host');
  });
});

describe('the name of a track', () => {
  it('is its language where it has none of its own', () => {
    expect(trackName('ger', 'ger')).toBe('German');
    expect(trackName('fre', 'fr')).toBe('French');
    expect(trackName('en', 'en')).toBe('English');
  });
  it('says the language beside a name that does not', () => {
    expect(trackName('Commentary', 'en')).toBe('Commentary (English)');
    expect(trackName('English, 5.1', 'en')).toBe('English, 5.1');
    expect(trackName('Deutsch', undefined)).toBe('Deutsch');
    expect(trackName('Sound 1', 'und')).toBe('Sound 1');
    expect(trackName('x', 'no language')).toBe('x');
  });
});
