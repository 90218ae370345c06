import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { pageAddress, readDeepLink, readTime, sameOrigin } from '../address';
import type { PlayRequest, Quality, StreamDetail } from '../client';
import { Elsewhere } from '../components/Elsewhere';
import { GoOn } from '../components/GoOn';
import { Library } from '../components/Library';
import { LiveMap, remember } from '../components/LiveMap';
import { Player } from '../components/Player';
import { SourceBar } from '../components/SourceBar';
import { Uploads } from '../components/Uploads';
import { clock, sourceName } from '../format';
import { NO_PLAYER, type PlayerView } from '../player';
import { readyStretches } from '../ready';
import { begunFilms, rememberFilm, resumeAt } from '../remembered';
import { hashOf } from '../route';
import { asSentence, sentence } from '../sentence';
import { JobSession, type SessionView } from '../session';
import { useShared } from '../shared';
import { DevicesIcon } from '../components/icons';

const LINK = readDeepLink(location.search);
/** How long somebody who did not begin at the beginning is offered it. */
const GOING_ON_S = 30;

interface Props {
  /** Whether this page is shown; a film goes on in a corner of the others. */
  readonly active: boolean;
  readonly onKeys: () => void;
  readonly onMake: (source: string) => void;
}

/** Choose something, and watch it. */
export function Watch({ active, onKeys, onMake }: Props) {
  const { gateway, base, keyed, onLocked } = useShared();
  const [request, setRequest] = useState<PlayRequest>({ source: LINK.source ?? '', quality: 'original', video: 'h264' });
  const [begin, setBegin] = useState(LINK.at > 0 ? clock(LINK.at) : '');
  const [session, setSession] = useState<SessionView>({ kind: 'none' });
  const [playing, setPlaying] = useState({ name: '', source: '', since: 0, at: 0, own: true });
  const [shown, setShown] = useState<{ view: PlayerView; since: number }>({ view: NO_PLAYER, since: 0 });
  // The player of the former film may still speak while it is taken down.
  const player = shown.since === playing.since ? shown.view : NO_PLAYER;
  const jobs = useMemo(() => new JobSession(gateway, setSession), []);
  const [elsewhere, setElsewhere] = useState(false);
  const seeker = useRef<((seconds: number) => void) | null>(null);

  const play = (wanted: PlayRequest, at: number): void => {
    const source = wanted.source.trim();
    if (source === '') return;
    setPlaying({ name: sourceName(source), source, since: performance.now(), at, own: true });
    history.replaceState(null, '', pageAddress(location.href, source, at));
    scrollTo({ top: 0 });
    void jobs.play({ ...wanted, source });
  };
  /** Plays a film from where it was left, if it was begun here. */
  const goOn = (wanted: PlayRequest): void => {
    const film = begunFilms().find((one) => one.source === wanted.source.trim());
    play(wanted, resumeAt(film) ?? 0);
  };
  const openJob = (id: string): void => {
    setPlaying({ name: '', source: '', since: performance.now(), at: LINK.at, own: false });
    void jobs.open(id);
  };
  const choose = (source: string): void => {
    const wanted = { ...request, source };
    setRequest(wanted);
    setBegin('');
    goOn(wanted);
  };
  const stop = (): void => {
    setPlaying({ name: '', source: '', since: performance.now(), at: 0, own: true });
    history.replaceState(null, '', pageAddress(location.href, ''));
    jobs.stop();
  };

  useEffect(() => {
    if (LINK.job !== null) openJob(LINK.job);
    const leave = (): void => jobs.leave();
    addEventListener('pagehide', leave);
    return () => removeEventListener('pagehide', leave);
  }, []);

  // With the key that was asked for, what was refused is tried again.
  const refused = session.kind === 'refused' && session.status === 401;
  useEffect(() => {
    if (refused) onLocked();
  }, [refused]);
  useEffect(() => {
    if (!refused || keyed === 0) return;
    if (playing.own && request.source.trim() !== '') play(request, playing.at);
    else if (LINK.job !== null) openJob(LINK.job);
  }, [keyed]);

  const job = session.kind === 'job' ? session.job : null;
  // A link to a job says only its id.
  useEffect(() => {
    const source = job?.source ?? null;
    if (source === null || playing.name !== '') return;
    setPlaying({ ...playing, name: sourceName(source), source });
    if (request.source === '') setRequest({ ...request, source });
  }, [job?.source]);

  useEffect(() => {
    const film = playing.name === '' || session.kind === 'none' ? '' : `${playing.name} · `;
    if (active) document.title = `${film}GhostStream`;
  }, [playing.name, session.kind, active]);

  const said = sentence(session, player);
  const warnings = (job?.warnings ?? []).filter((warning) => asSentence(warning) !== said.text);
  const broken = job !== null && (job.state === 'error' || job.state === 'cancelled');
  const over = broken || player.trouble?.fatal === true;
  // What is buffered stays watchable when a job ends under the viewer.
  const streamUrl = job?.streamUrl != null && !(over && player.firstPictureMs === null) ? sameOrigin(job.streamUrl, base) : null;
  const ready = useMemo(() => (job === null ? [] : readyStretches(job, player.starts)), [job, player.starts]);
  const isActive = session.kind !== 'none' && session.kind !== 'parted';
  const detail = useDetail(streamUrl !== null && contact(session) && job !== null && job.id !== '' ? job.id : null);
  // Where it is left is noted every few seconds, and at the end.
  const openEnded = detail.stream?.map?.open_ended === true;
  useEffect(() => {
    if (playing.source === '' || openEnded || player.duration <= 0 || player.firstPictureMs === null) return;
    rememberFilm({ source: playing.source, at: player.ended ? player.duration : player.position, duration: player.duration, when: Date.now() });
  }, [Math.floor(player.position / 5), player.ended, player.paused]);
  const waiting = isActive && player.firstPictureMs === null && !player.blocked && said.tone !== 'bad';
  const tracks = detail.stream?.map?.tracks ?? [];
  const soundOnly = tracks.length > 0 && tracks.every((track) => track.kind === 'audio');
  const facts = [
    job?.durationSeconds != null ? clock(job.durationSeconds) : null,
    player.width > 0 ? `${player.width} × ${player.height}` : null,
    player.firstPictureMs !== null ? `first ${soundOnly ? 'sound' : 'picture'} after ${(player.firstPictureMs / 1000).toFixed(1)} s` : null,
  ].filter((fact) => fact !== null);
  const stage = streamUrl !== null || waiting;
  // The stage takes the shape of the picture, within what fits on a screen.
  const shape = player.width > 0 && player.height > 0 ? Math.min(2.4, Math.max(1.2, player.width / player.height)) : null;

  return (
    <div class={active ? 'watch' : stage && streamUrl !== null ? 'watch watch-away' : 'watch watch-gone'}>
      <h1 class="sr" tabIndex={-1}>
        Watch
      </h1>
      <SourceBar
        request={request}
        begin={begin}
        large={!isActive}
        onChange={setRequest}
        onBegin={setBegin}
        onPlay={() => (begin.trim() === '' ? goOn(request) : play(request, readTime(begin) ?? 0))}
      />
      {session.kind !== 'none' && (
        <section class="theatre" aria-label="Film" data-stage={stage} style={shape === null ? {} : { '--ratio': String(shape) }}>
          {stage && (
            <div class="stage" style={shape === null ? {} : { '--shape': String(shape) }}>
              {streamUrl !== null ? (
                <Player
                  url={streamUrl}
                  since={playing.since}
                  at={playing.at}
                  name={playing.name === '' ? 'Video' : playing.name}
                  source={playing.source === '' || openEnded ? null : playing.source}
                  view={player}
                  ready={ready}
                  map={detail.stream?.map ?? null}
                  soundOnly={soundOnly}
                  quality={playing.own ? request.quality : null}
                  waiting={waiting}
                  listening={active}
                  seeker={seeker}
                  onKeys={onKeys}
                  onQuality={(quality: Quality) => {
                    const next: PlayRequest = { ...request, source: playing.source, quality };
                    setRequest(next);
                    play(next, player.position);
                  }}
                  onView={(view, since) => setShown({ view, since })}
                />
              ) : (
                <div class="veil veil-dark">
                  <span class="spinner" aria-hidden="true" />
                </div>
              )}
            </div>
          )}
          {!active && (
            <a class="button away-back" href={hashOf('watch')}>
              Back to the film
            </a>
          )}
          <div class="below">
            <div class="line">
              <div class="line-text">
                {playing.name !== '' && <p class="title">{playing.name}</p>}
                <p class="status" data-tone={said.tone} data-key={said.key} id="status">
                  <span class="dot" aria-hidden="true" />
                  <span>{said.text}</span>
                </p>
              </div>
              <div class="line-actions">
                {streamUrl !== null && playing.own && playing.at > 0 && player.position < playing.at + GOING_ON_S && (
                  <button type="button" class="button" onClick={() => seeker.current?.(0)}>
                    From the beginning
                  </button>
                )}
                {streamUrl !== null && (
                  <button type="button" class="button" onClick={() => (jobs.share(), setElsewhere(true))}>
                    <DevicesIcon />
                    <span>Elsewhere</span>
                  </button>
                )}
                {isActive && (
                  <button type="button" class="button" onClick={stop}>
                    {said.tone === 'bad' ? 'Close' : 'Stop'}
                  </button>
                )}
              </div>
            </div>
            {player.trouble?.codec === true && request.video === 'copy' && request.source.trim() !== '' && (
              <button
                type="button"
                class="button"
                onClick={() => {
                  const converted: PlayRequest = { ...request, video: 'h264' };
                  setRequest(converted);
                  play(converted, player.position);
                }}
              >
                Convert it to H.264 and play
              </button>
            )}
            {streamUrl !== null && facts.length > 0 && <p class="facts">{facts.join(' · ')}</p>}
            {warnings.length > 0 && (
              <ul class="warnings" aria-label="Warnings">
                {warnings.map((warning) => (
                  <li key={warning}>{warning}</li>
                ))}
              </ul>
            )}
          </div>
          {streamUrl !== null && detail.stream !== null && (
            <details class="panel map-panel" open>
              <summary>How it is made</summary>
              <LiveMap
                stream={detail.stream}
                position={player.position}
                speeds={detail.speeds}
                onSeek={(seconds) => seeker.current?.(seconds)}
              />
            </details>
          )}
        </section>
      )}
      {elsewhere && job !== null && job.streamUrl !== null && (
        <Elsewhere streamUrl={job.streamUrl} job={job.id === '' ? null : job.id} onClose={() => setElsewhere(false)} />
      )}
      <Announcement sentenceKey={said.key} text={said.text} urgent={said.tone === 'bad'} />
      <Uploads
        onPlay={(video, url) => {
          setPlaying({ name: video.name, source: '', since: performance.now(), at: 0, own: false });
          scrollTo({ top: 0 });
          jobs.playDone(url, video.duration_seconds ?? null);
        }}
      />
      {!isActive && <GoOn onPlay={({ source }) => choose(source)} />}
      <Library
        onPlay={choose}
        onMake={onMake}
      />
    </div>
  );
}

const contact = (session: SessionView): boolean => session.kind === 'job' && session.contact !== 'gone';

/** The map of the job that is played, asked for each second. */
function useDetail(id: string | null): { stream: StreamDetail | null; speeds: readonly number[] } {
  const { gateway } = useShared();
  const [state, setState] = useState<{ id: string; stream: StreamDetail; speeds: readonly number[] } | null>(null);
  useEffect(() => {
    if (id === null) return undefined;
    const ended = new AbortController();
    let timer: ReturnType<typeof setTimeout>;
    const ask = async (): Promise<void> => {
      try {
        if (!document.hidden) {
          const stream = await gateway.stream(id, ended.signal);
          setState((before) => ({ id, stream, speeds: remember(before?.id === id ? before.speeds : [], stream.speed) }));
        }
      } catch {
        // The sentence below the player says when the gateway is gone.
      }
      if (!ended.signal.aborted) timer = setTimeout(() => void ask(), 1000);
    };
    void ask();
    return () => {
      ended.abort();
      clearTimeout(timer);
    };
  }, [id]);
  return state !== null && state.id === id ? state : { stream: null, speeds: [] };
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
