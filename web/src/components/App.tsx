import { useEffect, useMemo, useState } from 'preact/hooks';
import { baseOf, pageAddress, readDeepLink, sameOrigin } from '../address';
import { Gateway, type PlayRequest } from '../api';
import { clock, sourceName } from '../format';
import { NO_PLAYER, type PlayerView } from '../player';
import { lengthSoFar, readyStretches } from '../ready';
import { sentence } from '../sentence';
import { JobSession, type SessionView } from '../session';
import { FilePicker } from './FilePicker';
import { Ghost } from './icons';
import { KeyForm } from './KeyForm';
import { ReadyMap } from './ReadyMap';
import { SourceForm } from './SourceForm';
import { Stage } from './Stage';

const BASE = baseOf(location.href);
const LINK = readDeepLink(location.search);

/** A random name for this visit; `crypto.randomUUID` is missing on plain-HTTP pages. */
function visitName(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

export function App() {
  const [request, setRequest] = useState<PlayRequest>({
    source: LINK.source ?? '',
    resolution: 'original',
    video: 'h264',
  });
  const [session, setSession] = useState<SessionView>({ kind: 'none' });
  const [playing, setPlaying] = useState({ name: '', since: 0 });
  const [shown, setShown] = useState<{ view: PlayerView; since: number }>({ view: NO_PLAYER, since: 0 });
  // The player of the former film may still speak while it is taken down.
  const player = shown.since === playing.since ? shown.view : NO_PLAYER;
  const [browsing, setBrowsing] = useState(false);

  const gateway = useMemo(() => new Gateway(BASE, visitName()), []);
  const jobs = useMemo(() => new JobSession(gateway, setSession), []);

  const begin = (name: string): void => setPlaying({ name, since: performance.now() });
  const play = (wanted: PlayRequest = request): void => {
    const source = wanted.source.trim();
    if (source === '') return;
    begin(sourceName(source));
    history.replaceState(null, '', pageAddress(location.href, source));
    void jobs.play({ ...wanted, source });
  };
  const openLink = (id: string): void => {
    begin('');
    void jobs.open(id);
  };

  useEffect(() => {
    if (LINK.job !== null) openLink(LINK.job);
    const leave = (): void => jobs.leave();
    addEventListener('pagehide', leave);
    return () => removeEventListener('pagehide', leave);
  }, []);

  useEffect(() => {
    document.title = playing.name === '' || session.kind === 'none' ? 'GhostStream' : `${playing.name} · GhostStream`;
  }, [playing.name, session.kind]);

  const job = session.kind === 'job' ? session.job : null;
  // A link to a job says only its id.
  useEffect(() => {
    const source = job?.source ?? null;
    if (source === null || playing.name !== '') return;
    setPlaying({ ...playing, name: sourceName(source) });
    if (request.source === '') setRequest({ ...request, source });
  }, [job?.source]);
  const said = sentence(session, player);
  const broken = job !== null && (job.state === 'error' || job.state === 'cancelled');
  const over = broken || player.trouble?.fatal === true;
  // What is buffered stays watchable when a job ends under the viewer.
  const streamUrl = job?.streamUrl != null && !(over && player.firstPictureMs === null) ? sameOrigin(job.streamUrl, BASE) : null;
  const stretches = job === null ? [] : readyStretches(job, player.starts);
  const active = session.kind !== 'none' && session.kind !== 'parted';
  const facts = [
    job?.durationSeconds != null ? clock(job.durationSeconds) : null,
    player.width > 0 ? `${player.width} × ${player.height}` : null,
    player.firstPictureMs !== null ? `first picture after ${(player.firstPictureMs / 1000).toFixed(1)} s` : null,
  ].filter((fact) => fact !== null);

  return (
    <>
      <header class="top">
        <a href={BASE} class="brand">
          <Ghost class="brand-ghost" />
          GhostStream
        </a>
      </header>
      <main>
        <h1 class="sr">Play a video</h1>
        <SourceForm request={request} onChange={setRequest} onPlay={() => play()} onBrowse={() => setBrowsing(true)} />
        {session.kind === 'refused' && session.status === 401 && (
          <KeyForm
            onKey={(key) => {
              gateway.useKey(key);
              if (request.source.trim() !== '') play();
              else if (LINK.job !== null) openLink(LINK.job);
            }}
          />
        )}
        <section class="theatre" aria-label="Player">
          <Stage
            url={streamUrl}
            since={playing.since}
            name={playing.name === '' ? 'Video' : playing.name}
            waiting={active && player.firstPictureMs === null && !player.blocked && said.tone !== 'bad'}
            inviting={session.kind === 'none'}
            silenced={player.silenced}
            onView={(view, since) => setShown({ view, since })}
          />
          {session.kind !== 'none' && (
            <div class="below">
              {streamUrl !== null && (
                <ReadyMap stretches={stretches} duration={job === null ? null : lengthSoFar(job)} position={player.position} />
              )}
              <div class="line">
                <p class="status" data-tone={said.tone} data-key={said.key} id="status">
                  <span class="dot" aria-hidden="true" />
                  <span>{said.text}</span>
                </p>
                {active && (
                  <button
                    type="button"
                    class="plain"
                    onClick={() => {
                      begin('');
                      jobs.stop();
                    }}
                  >
                    {said.tone === 'bad' ? 'Close' : 'Stop'}
                  </button>
                )}
              </div>
              {player.trouble?.codec === true && request.video === 'copy' && request.source.trim() !== '' && (
                <button
                  type="button"
                  class="plain"
                  onClick={() => {
                    const converted: PlayRequest = { ...request, video: 'h264' };
                    setRequest(converted);
                    play(converted);
                  }}
                >
                  Convert it to H.264 and play
                </button>
              )}
              {playing.name !== '' && <p class="title">{playing.name}</p>}
              {streamUrl !== null && facts.length > 0 && <p class="facts">{facts.join(' · ')}</p>}
              {job !== null && job.warnings.length > 0 && (
                <ul class="warnings" aria-label="Warnings">
                  {job.warnings.map((warning) => (
                    <li key={warning}>{warning}</li>
                  ))}
                </ul>
              )}
            </div>
          )}
        </section>
        <Announcement sentenceKey={said.key} text={said.text} urgent={said.tone === 'bad'} />
      </main>
      {browsing && (
        <FilePicker
          gateway={gateway}
          onPick={(path) => {
            setBrowsing(false);
            setRequest({ ...request, source: path });
            document.querySelector<HTMLButtonElement>('.source .primary')?.focus();
          }}
          onClose={() => setBrowsing(false)}
        />
      )}
    </>
  );
}

/** Tells a screen reader when the situation changes, not each second when a figure does. */
function Announcement({ sentenceKey, text, urgent }: { sentenceKey: string; text: string; urgent: boolean }) {
  const spoken = useMemo(() => (sentenceKey === 'none' ? '' : text), [sentenceKey]);
  return (
    <>
      <p class="sr" role="status">
        {urgent ? '' : spoken}
      </p>
      <p class="sr" role="alert">
        {urgent ? spoken : ''}
      </p>
    </>
  );
}
