import { describe, expect, it } from 'vitest';
import { type Begun, resumeAt, withBegun } from '../src/remembered';

const film = (at: number, duration = 6000, source = 'film.mkv'): Begun => ({ source, at, duration, when: 0 });

describe('a film that was begun', () => {
  it('goes on where it was left', () => {
    expect(resumeAt(film(754))).toBe(754);
    // Of a short one less is enough.
    expect(resumeAt(film(15, 50))).toBe(15);
  });
  it('begins at its beginning when it was hardly begun, or seen', () => {
    for (const other of [film(5), film(5900), film(6000), film(30, 0), undefined]) expect(resumeAt(other)).toBeNull();
  });
  it('is kept once, the latest first, and old ones are forgotten', () => {
    const list = withBegun([film(1, 9, 'a'), film(2, 9, 'b')], film(3, 9, 'b'));
    expect(list.map(({ source, at }) => [source, at])).toEqual([['b', 3], ['a', 1]]);
    let many: readonly Begun[] = [];
    for (let i = 0; i < 100; i += 1) many = withBegun(many, film(30, 99, `film ${i}`));
    expect(many).toHaveLength(60);
    expect(many[0]?.source).toBe('film 99');
  });
});
