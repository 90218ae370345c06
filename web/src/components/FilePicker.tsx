import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { ApiError, type FileEntry, type Folder, type Gateway } from '../api';
import { fileSize } from '../format';
import { matching } from '../listing';
import { asSentence } from '../sentence';
import { CloseIcon, FilmIcon, FolderIcon, UpIcon } from './icons';
import { KeyForm } from './KeyForm';

interface Crumb {
  readonly name: string;
  readonly path: string;
}

interface Props {
  readonly gateway: Gateway;
  readonly onPick: (path: string) => void;
  readonly onClose: () => void;
}

const TOP: Crumb = { name: 'All folders', path: '' };

/** Where the last visit ended, so that the next file of a season is one click away. */
let lastTrail: readonly Crumb[] = [TOP];

/** A dialog that walks through the folders the gateway may read. */
export function FilePicker({ gateway, onPick, onClose }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const list = useRef<HTMLDivElement>(null);
  const [trail, setTrail] = useState(lastTrail);
  const [folder, setFolder] = useState<Folder | null>(null);
  const [error, setError] = useState<string | null>(null);
  const [locked, setLocked] = useState(false);
  const [filter, setFilter] = useState('');
  const here = trail[trail.length - 1] ?? TOP;

  useEffect(() => dialog.current?.showModal(), []);

  useEffect(() => {
    lastTrail = trail;
    const reading = new AbortController();
    setFolder(null);
    setError(null);
    setLocked(false);
    setFilter('');
    // The button that led here is gone; the arrow keys go on from the list.
    list.current?.focus();
    gateway.files(here.path, reading.signal).then(
      (found) => {
        if (!reading.signal.aborted) setFolder(found);
      },
      (reason: unknown) => {
        if (reading.signal.aborted) return;
        setLocked(reason instanceof ApiError && reason.status === 401);
        setError(asSentence(reason instanceof ApiError ? reason.message : 'the folder could not be read'));
      },
    );
    return () => reading.abort();
  }, [trail]);

  const shown = useMemo(() => (folder === null ? [] : matching(folder.entries, filter)), [folder, filter]);

  const choose = (entry: FileEntry): void => {
    if (entry.isDir) setTrail([...trail, { name: entry.name, path: entry.path }]);
    else onPick(entry.path);
  };

  /** Arrow keys, Home and End walk through the list. */
  const walk = (event: KeyboardEvent): void => {
    const buttons = [...(list.current?.querySelectorAll('button') ?? [])];
    const at = buttons.findIndex((button) => button === document.activeElement);
    const target =
      event.key === 'ArrowDown'
        ? Math.min(at + 1, buttons.length - 1)
        : event.key === 'ArrowUp'
          ? Math.max(at - 1, 0)
          : at >= 0 && event.key === 'Home'
            ? 0
            : at >= 0 && event.key === 'End'
              ? buttons.length - 1
              : -1;
    if (target < 0 || buttons[target] === undefined) return;
    event.preventDefault();
    buttons[target].focus();
  };

  return (
    <dialog
      ref={dialog}
      class="picker"
      aria-labelledby="picker-title"
      onClose={onClose}
      onKeyDown={walk}
      onClick={(event) => {
        // A click on the dialog itself is a click on what surrounds its content.
        if (event.target === dialog.current) dialog.current?.close();
      }}
    >
      <div class="picker-body">
        <header class="picker-head">
          <h2 id="picker-title">Choose a file</h2>
          <button type="button" class="bare" onClick={() => dialog.current?.close()}>
            <CloseIcon />
            <span class="sr">Close</span>
          </button>
        </header>
        <nav class="crumbs" aria-label="Folder">
          {trail.map((crumb, index) =>
            index === trail.length - 1 ? (
              <span key={crumb.path} aria-current="location">
                {crumb.name}
              </span>
            ) : (
              <button key={crumb.path} type="button" class="link" onClick={() => setTrail(trail.slice(0, index + 1))}>
                {crumb.name}
              </button>
            ),
          )}
        </nav>
        <div class="picker-tools">
          <button type="button" class="plain" disabled={trail.length < 2} onClick={() => setTrail(trail.slice(0, -1))}>
            <UpIcon />
            <span>Up</span>
          </button>
          <input
            type="search"
            aria-label="Show only names with"
            placeholder="Filter"
            value={filter}
            onInput={(event) => setFilter(event.currentTarget.value)}
          />
        </div>
        <div ref={list} class="picker-list" tabIndex={-1} aria-busy={folder === null && error === null}>
          {error !== null && (
            <p class="note note-bad" role="alert">
              {error}
            </p>
          )}
          {locked && (
            <KeyForm
              onKey={(key) => {
                gateway.useKey(key);
                setTrail([...trail]);
              }}
            />
          )}
          {error === null && folder === null && <p class="note">Reading the folder…</p>}
          {folder !== null && shown.length === 0 && (
            <p class="note">
              {filter !== ''
                ? 'No name here matches.'
                : here.path === ''
                  ? 'No folder is open to this page. Name some under sources.roots in the configuration of the gateway.'
                  : 'This folder is empty.'}
            </p>
          )}
          <ul>
            {shown.map((entry) => (
              <li key={entry.path}>
                <button type="button" class="entry" onClick={() => choose(entry)}>
                  {entry.isDir ? <FolderIcon /> : <FilmIcon />}
                  <span class="entry-name">{entry.name}</span>
                  {entry.isDir && <span class="sr">, folder</span>}
                  {!entry.isDir && entry.sizeBytes !== null && <span class="entry-size">{fileSize(entry.sizeBytes)}</span>}
                </button>
              </li>
            ))}
          </ul>
        </div>
      </div>
    </dialog>
  );
}
