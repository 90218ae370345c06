import { Dialog } from './Dialog';

export const KEYS: ReadonlyArray<readonly [readonly string[], string]> = [
  [['Space', 'K'], 'Play or pause'],
  [['←', '→'], 'Five seconds back or on'],
  [['J', 'L'], 'Ten seconds back or on'],
  [['0', '…', '9'], 'To that tenth of the film'],
  [['Home', 'End'], 'To the beginning or the end'],
  [[',', '.'], 'One picture back or on'],
  [['↑', '↓'], 'Louder or softer'],
  [['M'], 'Sound on or off'],
  [['C'], 'Subtitles on or off'],
  [['<', '>'], 'Slower or faster'],
  [['F'], 'Full screen'],
  [['?'], 'This list'],
];

export function Keys({ onClose }: { readonly onClose: () => void }) {
  return (
    <Dialog title="Keys of the player" class="dialog-small" onClose={onClose}>
      <dl class="keys">
        {KEYS.map(([keys, what]) => (
          <div key={what}>
            <dt>
              {keys.map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
