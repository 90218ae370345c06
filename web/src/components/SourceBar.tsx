import { readTime } from '../address';
import type { PlayRequest, Quality } from '../client';
import { QUALITIES } from './Player';

interface Props {
  readonly request: PlayRequest;
  readonly begin: string;
  readonly large: boolean;
  readonly onChange: (request: PlayRequest) => void;
  readonly onBegin: (text: string) => void;
  readonly onPlay: () => void;
}

/** What to play and how. */
export function SourceBar({ request, begin, large, onChange, onBegin, onPlay }: Props) {
  const scaled = request.quality !== 'original';
  const wrongTime = begin.trim() !== '' && readTime(begin) === null;
  return (
    <form
      class={large ? 'source source-large' : 'source'}
      onSubmit={(event) => {
        event.preventDefault();
        if (!wrongTime) onPlay();
      }}
    >
      {large && (
        <div class="welcome">
          <p class="lead">Play anything. At once.</p>
          <p>Paste the address of a video, or choose one below. It starts in a moment and seeks anywhere.</p>
        </div>
      )}
      <div class="source-line">
        <div class="field field-source">
          <label for="source" class={large ? '' : 'sr'}>
            Video address or path
          </label>
          <input
            id="source"
            type="text"
            inputMode="url"
            required
            autoComplete="off"
            autoCapitalize="off"
            spellcheck={false}
            placeholder="https://… or a file of this gateway"
            value={request.source}
            onInput={(event) => onChange({ ...request, source: event.currentTarget.value })}
          />
        </div>
        <button type="submit" class="button button-primary button-large">
          Play
        </button>
      </div>
      <details class="source-more" open={large && matchMedia('(min-width: 821px)').matches}>
        <summary>Options</summary>
        <div class="source-options">
        <div class="field field-inline">
          <label for="quality">Quality</label>
          <select id="quality" value={request.quality} onChange={(event) => onChange({ ...request, quality: event.currentTarget.value as Quality })}>
            {QUALITIES.map(([value, words]) => (
              <option key={value} value={value}>
                {words}
              </option>
            ))}
          </select>
        </div>
        <div class="field field-inline">
          <label for="video">Video</label>
          <select
            id="video"
            value={scaled ? 'h264' : request.video}
            disabled={scaled}
            title={scaled ? 'A picture of another size is always encoded anew' : undefined}
            onChange={(event) => onChange({ ...request, video: event.currentTarget.value as PlayRequest['video'] })}
          >
            <option value="h264">Convert to H.264</option>
            <option value="copy">As it is when possible</option>
          </select>
        </div>
        <div class="field field-inline field-begin">
          <label for="begin">Start at</label>
          <input
            id="begin"
            type="text"
            inputMode="numeric"
            placeholder="0:00"
            value={begin}
            aria-invalid={wrongTime}
            title="Minutes and seconds, such as 1:30"
            onInput={(event) => onBegin(event.currentTarget.value)}
          />
        </div>
        </div>
      </details>
    </form>
  );
}
