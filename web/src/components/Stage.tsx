import { useEffect, useRef } from 'preact/hooks';
import { attach, type PlayerView } from '../player';
import { Ghost } from './icons';

interface Props {
  /** The stream to play, or null to show the empty stage. */
  readonly url: string | null;
  /** `performance.now()` of the press of the button. */
  readonly since: number;
  readonly name: string;
  /** Whether there is no picture yet, but there will be. */
  readonly waiting: boolean;
  /** Whether to say what this page is for. */
  readonly inviting: boolean;
  /** Whether it plays without sound and the user may change that. */
  readonly silenced: boolean;
  /** Told of the player's state, and of the `since` it belongs to. */
  readonly onView: (view: PlayerView, since: number) => void;
}

/** The place of the picture: the player, and until there is a picture what to do or to wait for. */
export function Stage({ url, since, name, waiting, inviting, silenced, onView }: Props) {
  const video = useRef<HTMLVideoElement>(null);
  useEffect(() => {
    if (url === null || video.current === null) return undefined;
    // Space, arrows and F then belong to the player.
    video.current.focus();
    return attach(video.current, url, since, (view) => onView(view, since));
  }, [url, since]);
  return (
    <div class="stage">
      {url !== null && <video ref={video} key={`${url} ${since}`} controls={!waiting} tabIndex={0} playsInline aria-label={name} />}
      {url !== null && silenced && (
        <button
          type="button"
          class="plain sound"
          onClick={() => {
            if (video.current !== null) video.current.muted = false;
          }}
        >
          Turn the sound on
        </button>
      )}
      {(url === null || waiting) && (
        <div class={url === null ? 'veil' : 'veil veil-dark'}>
          <Ghost class={waiting ? 'ghost ghost-busy' : 'ghost'} />
          {inviting && (
            <div>
              <p class="lead">Paste the address of any video, or choose a file.</p>
              <p>It starts at once and seeks anywhere.</p>
            </div>
          )}
        </div>
      )}
    </div>
  );
}
