/** The order and the choice of a folder's entries. Pure. */
import type { FileEntry } from './client';

const byName = new Intl.Collator(undefined, { numeric: true, sensitivity: 'base' });

/** Entries whose name contains every word of `filter`; folders first, then by name as people count. */
export function matching(entries: readonly FileEntry[], filter: string): FileEntry[] {
  const words = filter.toLowerCase().split(/\s+/).filter((word) => word !== '');
  return entries
    .filter((entry) => words.every((word) => entry.name.toLowerCase().includes(word)))
    .sort((a, b) => Number(b.isDir) - Number(a.isDir) || byName.compare(a.name, b.name));
}
