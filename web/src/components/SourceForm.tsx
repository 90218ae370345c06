import type { PlayRequest, Resolution, Video } from '../api';
import { FolderIcon } from './icons';

interface Props {
  readonly request: PlayRequest;
  readonly onChange: (request: PlayRequest) => void;
  readonly onPlay: () => void;
  readonly onBrowse: () => void;
}

const RESOLUTIONS: ReadonlyArray<readonly [Resolution, string]> = [
  ['original', 'Original'],
  ['1080p', '1080p'],
  ['720p', '720p'],
  ['480p', '480p'],
];
const VIDEOS: ReadonlyArray<readonly [Video, string]> = [
  ['h264', 'Convert to H.264'],
  ['copy', 'As it is when possible'],
];

/** What to play and how. */
export function SourceForm({ request, onChange, onPlay, onBrowse }: Props) {
  const scaled = request.resolution !== 'original';
  return (
    <form
      class="source"
      onSubmit={(event) => {
        event.preventDefault();
        onPlay();
      }}
    >
      <div class="field field-source">
        <label for="source">Video address or path</label>
        <div class="joined">
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
          <button type="button" class="browse" onClick={onBrowse}>
            <FolderIcon />
            <span>Browse</span>
          </button>
        </div>
      </div>
      <div class="field">
        <label for="resolution">Resolution</label>
        <select
          id="resolution"
          value={request.resolution}
          onChange={(event) => onChange({ ...request, resolution: event.currentTarget.value as Resolution })}
        >
          {RESOLUTIONS.map(([value, words]) => (
            <option key={value} value={value}>
              {words}
            </option>
          ))}
        </select>
      </div>
      <div class="field">
        <label for="video">Video</label>
        <select
          id="video"
          value={scaled ? 'h264' : request.video}
          disabled={scaled}
          title={scaled ? 'A picture of another size is always encoded anew' : undefined}
          onChange={(event) => onChange({ ...request, video: event.currentTarget.value as Video })}
        >
          {VIDEOS.map(([value, words]) => (
            <option key={value} value={value}>
              {words}
            </option>
          ))}
        </select>
      </div>
      <button type="submit" class="primary">
        Play
      </button>
    </form>
  );
}
