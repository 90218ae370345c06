import { describe, expect, it } from 'vitest';
import { matching } from '../src/listing';

const entry = (name: string, isDir = false) => ({ name, path: `/${name}`, isDir, sizeBytes: null });
const all = [entry('Show 10.mkv'), entry('show 2.mkv'), entry('Zoo', true), entry('notes.txt')];

describe('a folder', () => {
  it('shows folders first, then names as people count', () => {
    expect(matching(all, '').map((e) => e.name)).toEqual(['Zoo', 'notes.txt', 'show 2.mkv', 'Show 10.mkv']);
  });
  it('is filtered by every word, in any case', () => {
    expect(matching(all, ' MKV show ').map((e) => e.name)).toEqual(['show 2.mkv', 'Show 10.mkv']);
    expect(matching(all, 'show 3')).toEqual([]);
  });
});
