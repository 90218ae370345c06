import type { JSX } from 'preact';
import { useCallback, useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { baseOf } from '../address';
import { Gateway } from '../client';
import { Live, type LiveView, NO_LIVE } from '../live';
import { Jobs } from '../pages/Jobs';
import { Machines } from '../pages/Machines';
import { Scenes } from '../pages/Scenes';
import { Settings } from '../pages/Settings';
import { Watch } from '../pages/Watch';
import { type Page, hashOf, useRoute } from '../route';
import { type Shared, SharedContext } from '../shared';
import { KeyForm } from './KeyForm';
import { Keys } from './Keys';
import { MakeFile } from './MakeFile';
import { Ghost, JobsIcon, MachinesIcon, ScenesIcon, SettingsIcon, WatchIcon } from './icons';

const BASE = baseOf(location.href);
/** Where the key is kept: as long as the tab is open. */
const KEPT_KEY = 'ghoststream-api-key';

/** A random name for this visit; `crypto.randomUUID` is missing on plain-HTTP pages. */
function visitName(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function kept(): string | null {
  try {
    return sessionStorage.getItem(KEPT_KEY);
  } catch {
    // Storage may be forbidden; then the key lives as long as the page.
    return null;
  }
}

function keep(key: string): void {
  try {
    sessionStorage.setItem(KEPT_KEY, key);
  } catch {
    // As above.
  }
}

const PAGES: ReadonlyArray<readonly [Page, string, () => JSX.Element]> = [
  ['watch', 'Watch', WatchIcon],
  ['jobs', 'Jobs', JobsIcon],
  ['scenes', 'Scenes', ScenesIcon],
  ['machines', 'Machines', MachinesIcon],
  ['settings', 'Settings', SettingsIcon],
];

interface Message {
  readonly words: string;
  readonly bad: boolean;
  readonly at: number;
}

export function App() {
  const route = useRoute();
  const gateway = useMemo(() => {
    const made = new Gateway(BASE, visitName());
    made.useKey(kept());
    return made;
  }, []);
  const [view, setView] = useState<LiveView>(NO_LIVE);
  const events = useMemo(() => new Live(gateway, setView), []);
  const [keyed, setKeyed] = useState(0);
  const [locked, setLocked] = useState(false);
  const [message, setMessage] = useState<Message | null>(null);
  const [making, setMaking] = useState<string | null>(null);
  const [keys, setKeys] = useState(false);
  const main = useRef<HTMLElement>(null);

  useEffect(() => {
    events.start();
    return () => events.stop();
  }, []);
  useEffect(() => {
    if (view.contact === 'locked') setLocked(true);
  }, [view.contact]);
  useEffect(() => {
    if (message === null) return undefined;
    const timer = setTimeout(() => setMessage(null), message.bad ? 8000 : 4000);
    return () => clearTimeout(timer);
  }, [message]);

  const name = PAGES.find(([page]) => page === route.page)?.[1] ?? '';
  const first = useRef(true);
  useEffect(() => {
    if (route.page !== 'watch') document.title = `${name} · GhostStream`;
    if (first.current) {
      first.current = false;
      return;
    }
    // Another page is a new beginning: for the eye and for the keyboard.
    scrollTo({ top: 0, behavior: 'instant' });
    main.current?.querySelector<HTMLElement>(`[data-page="${route.page}"] h1`)?.focus({ preventScroll: true });
  }, [route.page]);

  const onLocked = useCallback(() => setLocked(true), []);
  const say = useCallback((words: string, bad = false) => setMessage({ words, bad, at: Date.now() }), []);
  const shared: Shared = { gateway, base: BASE, live: view, keyed, onLocked, say };
  // Jobs that share a stream share its encoders.
  const encoders = new Map(view.streams.map((stream) => [stream.stream ?? stream.job_id, stream.encoders]));
  const working = [...encoders.values()].reduce((sum, count) => sum + count, 0) + view.files.size;

  return (
    <SharedContext.Provider value={shared}>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), main.current?.focus())}>
        To the content
      </a>
      <header class="rail">
        <a href={hashOf('watch')} class="brand" aria-label="GhostStream">
          <Ghost class="brand-ghost" />
          <span>GhostStream</span>
        </a>
        <nav aria-label="Pages">
          <ul>
            {PAGES.map(([page, words, Icon]) => (
              <li key={page}>
                <a href={hashOf(page)} class="tab-link" aria-current={page === route.page ? 'page' : undefined}>
                  <Icon />
                  <span>{words}</span>
                  {page === 'jobs' && working > 0 && (
                    <span class="badge">
                      {working}
                      <span class="sr"> at work</span>
                    </span>
                  )}
                </a>
              </li>
            ))}
          </ul>
        </nav>
        <p class="contact" data-contact={view.contact}>
          <span class="dot" aria-hidden="true" />
          {CONTACT[view.contact]}
        </p>
      </header>
      <main id="main" ref={main} tabIndex={-1}>
        <div data-page="watch">
          <Watch active={route.page === 'watch'} onKeys={() => setKeys(true)} onMake={setMaking} />
        </div>
        {route.page !== 'watch' && (
          <div data-page={route.page}>
            {route.page === 'jobs' && <Jobs events={events} onMake={() => setMaking('')} />}
            {route.page === 'scenes' && <Scenes chosen={route.detail} />}
            {route.page === 'machines' && <Machines />}
            {route.page === 'settings' && <Settings />}
          </div>
        )}
      </main>
      {making !== null && (
        <MakeFile
          source={making}
          onClose={() => setMaking(null)}
          onMade={() => {
            setMaking(null);
            say('It is in the queue.');
            location.hash = hashOf('jobs');
          }}
        />
      )}
      {keys && <Keys onClose={() => setKeys(false)} />}
      {locked && (
        <KeyForm
          key={keyed}
          again={keyed > 0}
          onClose={() => setLocked(false)}
          onKey={(key) => {
            gateway.useKey(key);
            keep(key);
            setLocked(false);
            setKeyed(keyed + 1);
            events.start();
          }}
        />
      )}
      <div class="messages" role="status" aria-live="polite">
        {message !== null && (
          <p key={message.at} class={message.bad ? 'message message-bad' : 'message'}>
            {message.words}
          </p>
        )}
      </div>
    </SharedContext.Provider>
  );
}

const CONTACT: Readonly<Record<LiveView['contact'], string>> = {
  asking: 'Connecting…',
  good: 'Connected',
  lost: 'No answer, trying again…',
  locked: 'Locked',
};
