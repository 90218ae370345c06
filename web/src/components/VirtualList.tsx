import type { ComponentChildren } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { rowsInSight } from '../queue';

interface Props<T> {
  readonly label: string;
  readonly items: readonly T[];
  readonly keyOf: (item: T) => string;
  readonly row: (item: T) => ComponentChildren;
  /** How many there are, with those that are not loaded. */
  readonly total: number;
  /** The end comes into sight: more is wanted. */
  readonly onEnd: () => void;
}

/** A list of rows of one height (`--row` in the style) that draws only those in sight. */
export function VirtualList<T>({ label, items, keyOf, row, total, onEnd }: Props<T>) {
  const list = useRef<HTMLUListElement>(null);
  const [sight, setSight] = useState<readonly [number, number]>([0, 20]);
  const [height, setHeight] = useState(76);

  const look = (): void => {
    const element = list.current;
    if (element === null) return;
    const rowHeight = parseFloat(getComputedStyle(element).getPropertyValue('--row')) || 76;
    setHeight(rowHeight);
    const next = rowsInSight(items.length, rowHeight, -element.getBoundingClientRect().top, innerHeight);
    setSight((before) => (before[0] === next[0] && before[1] === next[1] ? before : next));
    if (next[1] >= items.length - 10 && items.length > 0) onEnd();
  };
  const looking = useRef(look);
  looking.current = look;

  useLayoutEffect(look, [items.length, total]);
  useEffect(() => {
    let asked = 0;
    const soon = (): void => {
      if (asked !== 0) return;
      asked = requestAnimationFrame(() => {
        asked = 0;
        looking.current();
      });
    };
    addEventListener('scroll', soon, { passive: true });
    addEventListener('resize', soon);
    return () => {
      cancelAnimationFrame(asked);
      removeEventListener('scroll', soon);
      removeEventListener('resize', soon);
    };
  }, []);

  /** Arrow keys go from row to row, also to those that are not drawn yet. */
  const walk = (event: KeyboardEvent): void => {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 }[event.key];
    const from = (event.target as HTMLElement).closest<HTMLElement>('[data-index]');
    if (from === null) return;
    const at = Number(from.dataset['index']);
    const target = event.key === 'Home' ? 0 : event.key === 'End' ? items.length - 1 : step === undefined ? null : at + step;
    if (target === null || list.current === null) return;
    event.preventDefault();
    const index = Math.min(Math.max(target, 0), items.length - 1);
    const top = list.current.getBoundingClientRect().top + index * height;
    if (top < 80 || top > innerHeight - 2 * height) scrollBy({ top: top - innerHeight / 2, behavior: 'instant' });
    looking.current();
    requestAnimationFrame(() => {
      list.current?.querySelector<HTMLElement>(`[data-index="${index}"] [data-focus]`)?.focus({ preventScroll: true });
    });
  };

  const [first, last] = sight;
  return (
    <ul ref={list} class="rows" aria-label={label} style={{ height: `${items.length * height}px` }} onKeyDown={walk}>
      {items.slice(first, last).map((item, i) => (
        <li
          key={keyOf(item)}
          class="row"
          data-index={first + i}
          aria-setsize={total}
          aria-posinset={first + i + 1}
          style={{ transform: `translateY(${(first + i) * height}px)` }}
        >
          {row(item)}
        </li>
      ))}
    </ul>
  );
}
