import { useState } from 'preact/hooks';
import type { FileOrder } from '../client';
import { asSentence } from '../sentence';
import { reasonOf, useShared } from '../shared';
import { Dialog } from './Dialog';

interface Props {
  readonly source: string;
  readonly onClose: () => void;
  /** Queued, under this id. */
  readonly onMade: (id: string) => void;
}

/** WebM holds other codecs than the rest. */
function fitting(order: FileOrder): FileOrder {
  const forWebm = order.video_codec === 'vp9' || order.video_codec === 'av1';
  if (order.format === 'webm' && !forWebm) return { ...order, video_codec: 'vp9' };
  return order.format !== 'webm' && order.video_codec === 'vp9' ? { ...order, video_codec: 'h264' } : order;
}

/** Asks for a file to be made of a source. */
export function MakeFile({ source, onClose, onMade }: Props) {
  const { gateway } = useShared();
  const [order, setOrder] = useState<FileOrder>({ source, format: 'mp4', video_codec: 'h264', resolution: 'original', two_pass: false });
  const [error, setError] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const submit = async (): Promise<void> => {
    setBusy(true);
    try {
      onMade(await gateway.makeFile({ ...order, source: order.source.trim() }));
    } catch (reason) {
      setError(asSentence(reasonOf(reason)));
      setBusy(false);
    }
  };
  const select = (name: 'format' | 'video_codec' | 'resolution', label: string, options: ReadonlyArray<readonly [string, string]>) => (
    <div class="field">
      <label for={`make-${name}`}>{label}</label>
      <select
        id={`make-${name}`}
        value={order[name]}
        onChange={(event) => setOrder(fitting({ ...order, [name]: event.currentTarget.value }))}
      >
        {options.map(([value, words]) => (
          <option key={value} value={value}>
            {words}
          </option>
        ))}
      </select>
    </div>
  );
  return (
    <Dialog title="Make a file" onClose={onClose}>
      <form
        class="stack"
        onSubmit={(event) => {
          event.preventDefault();
          void submit();
        }}
      >
        <div class="field">
          <label for="make-source">Of</label>
          <input
            id="make-source"
            type="text"
            required
            placeholder="https://… or a file of this gateway"
            value={order.source}
            onInput={(event) => setOrder({ ...order, source: event.currentTarget.value })}
          />
        </div>
        <div class="field-row">
          {select('format', 'Container', [
            ['mp4', 'MP4'],
            ['mkv', 'Matroska'],
            ['webm', 'WebM'],
          ])}
          {select(
            'video_codec',
            'Video',
            order.format === 'webm'
              ? [
                  ['vp9', 'VP9'],
                  ['av1', 'AV1'],
                ]
              : [
                  ['h264', 'H.264'],
                  ['h265', 'H.265'],
                  ['av1', 'AV1'],
                  ['copy', 'As it is'],
                ],
          )}
          {select('resolution', 'Size', [
            ['original', 'Original'],
            ['1080p', '1080p'],
            ['720p', '720p'],
            ['480p', '480p'],
          ])}
        </div>
        <label class="check">
          <input type="checkbox" checked={order.two_pass} onChange={(event) => setOrder({ ...order, two_pass: event.currentTarget.checked })} />
          Two passes: better pictures for the same size, twice the time
        </label>
        {error !== null && (
          <p class="note note-bad" role="alert">
            {error}
          </p>
        )}
        <div class="actions">
          <button type="submit" class="button button-primary" disabled={busy}>
            Put it in the queue
          </button>
        </div>
      </form>
    </Dialog>
  );
}
