import { useMemo, useRef, useState } from 'preact/hooks';
import { type FileEntry } from '../client';
import { fileSize } from '../format';
import { matching } from '../listing';
import { asSentence } from '../sentence';
import { useAnswer, useShared } from '../shared';
import { begunFilms } from '../remembered';
import { Seen } from './GoOn';
import { Picture } from './Picture';
import { FilmIcon, FolderIcon, PlusIcon, SearchIcon } from './icons';

interface Crumb {
  readonly name: string;
  readonly path: string;
}

interface Props {
  readonly onPlay: (path: string) => void;
  /** Asks for a file to be made of one. */
  readonly onMake: (path: string) => void;
}

const TOP: Crumb = { name: 'Library', path: '' };
/** Entries that are drawn at first, and with every further wish. */
const SHOWN = 120;

/** The folders that the gateway may read, as pictures. */
export function Library({ onPlay, onMake }: Props) {
  const { gateway } = useShared();
  const [trail, setTrail] = useState<readonly Crumb[]>([TOP]);
  const [filter, setFilter] = useState('');
  const [most, setMost] = useState(SHOWN);
  const grid = useRef<HTMLDivElement>(null);
  const here = trail[trail.length - 1] ?? TOP;
  const { value, error } = useAnswer((signal) => gateway.files(here.path, signal), [here.path]);
  // The answer for another folder is not this one's.
  const folder = value !== null && value.path === here.path ? value : null;
  const found = useMemo(() => (folder === null ? [] : matching(folder.entries, filter)), [folder, filter]);

  const folders = found.filter((entry) => entry.isDir);
  const films = found.filter((entry) => !entry.isDir);
  const begun = new Map(begunFilms().map((film) => [film.source, film]));

  const go = (next: readonly Crumb[]): void => {
    setTrail(next);
    setFilter('');
    setMost(SHOWN);
  };
  const choose = (entry: FileEntry): void => {
    if (!entry.isDir) return onPlay(entry.path);
    go([...trail, { name: entry.name, path: entry.path }]);
    // The button that led here is gone; the keyboard goes on from the list.
    grid.current?.focus();
  };

  /** Arrow keys walk through the cards as they lie. */
  const walk = (event: KeyboardEvent): void => {
    const cards = [...(grid.current?.querySelectorAll<HTMLElement>('.card-main') ?? [])];
    const at = cards.indexOf(document.activeElement as HTMLElement);
    if (cards.length === 0) return;
    const row = cards[Math.max(at, 0)]?.getBoundingClientRect().top;
    const columns = Math.max(1, cards.filter((card) => card.getBoundingClientRect().top === row).length);
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
    const target = event.key === 'Home' ? 0 : event.key === 'End' ? cards.length - 1 : step === undefined ? null : at < 0 ? 0 : at + step;
    if (target === null || cards[target] === undefined) return;
    event.preventDefault();
    cards[target].focus();
  };

  return (
    <section class="library" aria-labelledby="library-title">
      <header class="section-head">
        <h2 id="library-title" class="sr">
          Library
        </h2>
        <nav class="crumbs" aria-label="Folder">
          {trail.map((crumb, index) =>
            index === trail.length - 1 ? (
              <span key={crumb.path} class="crumb-here" aria-current="location">
                {crumb.name}
              </span>
            ) : (
              <button key={crumb.path} type="button" class="link" onClick={() => go(trail.slice(0, index + 1))}>
                {crumb.name}
              </button>
            ),
          )}
        </nav>
        <label class="search">
          <SearchIcon />
          <span class="sr">Show only names with</span>
          <input type="search" placeholder="Filter" value={filter} onInput={(event) => setFilter(event.currentTarget.value)} />
        </label>
      </header>
      {error !== null && folder === null && (
        <p class="note note-bad" role="alert">
          {asSentence(error)}
        </p>
      )}
      {folder !== null && found.length === 0 && (
        <p class="note">
          {filter !== ''
            ? 'No name here matches.'
            : here.path === ''
              ? 'No folder is open to this page. Name some under sources.roots in the configuration of the gateway.'
              : 'This folder is empty.'}
        </p>
      )}
      <div ref={grid} class="shelves" tabIndex={-1} aria-busy={folder === null && error === null} onKeyDown={walk}>
        {folders.length > 0 && (
          <ul class="folders" aria-label="Folders">
            {folders.slice(0, most).map((entry) => (
              <li key={entry.path}>
                <button type="button" class="folder card-main" onClick={() => choose(entry)}>
                  <FolderIcon />
                  <span class="card-name">{entry.name}</span>
                </button>
              </li>
            ))}
          </ul>
        )}
        {films.length > 0 && (
          <ul class="cards" aria-label="Files">
            {films.slice(0, most).map((entry) => (
              <li key={entry.path} class="card">
                <button type="button" class="card-main" onClick={() => choose(entry)}>
                  <span class="card-picture">
                    <FilmIcon />
                    <Picture source={entry.path} width={320} />
                    <Seen film={begun.get(entry.path)} />
                  </span>
                  <span class="card-name" title={entry.name}>
                    {entry.name}
                  </span>
                  <span class="card-note">{entry.sizeBytes === null ? '' : fileSize(entry.sizeBytes)}</span>
                </button>
                <button type="button" class="control card-more" title="Make a file of it" onClick={() => onMake(entry.path)}>
                  <PlusIcon />
                  <span class="sr">Make a file of {entry.name}</span>
                </button>
              </li>
            ))}
          </ul>
        )}
      </div>
      {Math.max(folders.length, films.length) > most && (
        <button type="button" class="button" onClick={() => setMost(most + SHOWN)}>
          Show more of {found.length}
        </button>
      )}
    </section>
  );
}
