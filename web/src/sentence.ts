/** What happens, in words: one sentence from the job and the player. Pure. */
import type { Job } from './client';
import { clock, percent, span, speed } from './format';
import type { PlayerView } from './player';
import { readyAhead, readyShare } from './ready';
import type { SessionView } from './session';

/** `quiet`: nothing goes on; `busy`: wait; `live`: it runs; `good`: done; `bad`: it stopped. */
export type Tone = 'quiet' | 'busy' | 'live' | 'good' | 'bad';

export interface Sentence {
  /** Names the situation, not its figures: a screen reader hears a sentence when this changes. */
  readonly key: string;
  readonly text: string;
  readonly tone: Tone;
}

/** Begins with a capital and ends with a full stop. */
export function asSentence(words: string): string {
  const trimmed = words.trim();
  const capital = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?…]$/.test(capital) ? capital : `${capital}.`;
}

/** Ties a heading to a reason that comes from the gateway: `Heading: reason.` */
function because(heading: string, reason: string | null): string {
  return asSentence(reason === null ? heading : `${heading}: ${reason.trim()}`);
}

const busy = (key: string, text: string): Sentence => ({ key, text, tone: 'busy' });
const bad = (key: string, text: string): Sentence => ({ key, text, tone: 'bad' });

/** The sentence under the player. */
export function sentence(session: SessionView, player: PlayerView): Sentence {
  switch (session.kind) {
    case 'none':
      return { key: 'none', text: 'Nothing is playing.', tone: 'quiet' };
    case 'parted':
      return { key: 'parted', text: 'The film was stopped when you left this page. Press Play to go on.', tone: 'quiet' };
    case 'starting':
      return busy('asking', 'Asking the gateway…');
    case 'opening':
      return busy('opening', 'Looking for the job…');
    case 'refused':
      if (session.status === 0) return bad('unreachable', 'The gateway does not answer. Is it still running?');
      if (session.status === 401) return bad('key', 'This gateway wants its API key before it plays anything.');
      return bad('refused', because('This cannot be played', session.reason));
    case 'job':
      return ofJob(session.job, session.contact, player);
  }
}

function ofJob(job: Job, contact: 'good' | 'lost' | 'gone', player: PlayerView): Sentence {
  if (job.state === 'error') return bad('error', because('This cannot be played', job.error));
  if (job.state === 'cancelled') return bad('cancelled', 'The job was cancelled on the gateway.');
  if (contact === 'gone') return bad('gone', 'The gateway no longer has this job: it was stopped or has expired.');
  if (job.streamUrl === null && job.state === 'ready') return bad('file', 'This job made a file, there is no stream to play.');
  if (player.trouble?.fatal) return bad('player', asSentence(player.trouble.words));
  if (contact === 'lost') return busy('lost', 'The gateway does not answer, trying again…');
  if (player.trouble) return busy('trouble', `${asSentence(player.trouble.words)} Trying again…`);
  if (player.seekingTo !== null) return busy('seeking', `Seeking to ${clock(player.seekingTo)}…`);
  if (player.blocked) return { key: 'blocked', text: 'Ready. Press play in the player.', tone: 'live' };
  if (player.stalledAt !== null && player.firstPictureMs !== null) {
    const whom = job.phase === 'live' ? 'source' : 'encoder';
    return busy('stalled', `Waiting for the ${whom} at ${clock(player.stalledAt)}…`);
  }
  if (player.silenced) {
    return { key: 'silenced', text: 'Playing without sound: this browser wants a click before it turns it on.', tone: 'live' };
  }
  return ofPhase(job, player);
}

function ofPhase(job: Job, player: PlayerView): Sentence {
  const share = readyShare(job, player.starts);
  const ready = `${percent(share)} of the film is ready`;
  if (job.state === 'ready' || job.phase === 'ready' || share >= 1) {
    return { key: 'ready', text: 'All of the film is ready', tone: 'good' };
  }
  switch (job.phase) {
    case 'probing':
      return busy('probing', 'Probing the source…');
    case 'starting':
      return busy('starting', 'Starting the encoder…');
    case 'paused': {
      const ahead = readyAhead(job, player.starts, player.position);
      const text = ahead !== null && ahead >= 1 ? `Paused: ${span(ahead)} are ready ahead` : `Paused: ${ready}`;
      return { key: 'paused', text, tone: 'live' };
    }
    case 'live':
      return { key: 'live', text: `Live: ${clock(job.madeSeconds)} so far`, tone: 'live' };
    case 'idle':
      return { key: 'idle', text: `Nothing needs encoding now, ${ready}`, tone: 'live' };
    case 'encoding':
    case null:
      break;
  }
  if (job.state === 'queued') return busy('queued', 'Waiting for a free encoder…');
  if (job.phase === null && share === 0) return busy('starting', 'Starting the encoder…');
  const rate = job.speed !== null && job.speed > 0 ? ` at ${speed(job.speed)} real time` : '';
  return { key: 'encoding', text: `Encoding${rate}, ${ready}`, tone: 'live' };
}
