import { useEffect, useId, useRef, useState } from 'preact/hooks';
import { Dialog } from './Dialog';

interface Props {
  /** A key was refused before. */
  readonly again: boolean;
  readonly onKey: (key: string) => void;
  readonly onClose: () => void;
}

/** Asks for `security.api_key`. It is kept until the tab is closed. */
export function KeyForm({ again, onKey, onClose }: Props) {
  const id = useId();
  const [key, setKey] = useState('');
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => input.current?.focus(), []);
  return (
    <Dialog title="This gateway wants its API key" class="dialog-small" onClose={onClose}>
      <form
        class="stack"
        onSubmit={(event) => {
          event.preventDefault();
          if (key.trim() !== '') onKey(key.trim());
        }}
      >
        {again && (
          <p class="note note-bad" role="alert">
            The gateway refused this key.
          </p>
        )}
        <div class="field">
          <label for={id}>API key of this gateway</label>
          <input id={id} ref={input} type="password" required autoComplete="off" value={key} onInput={(event) => setKey(event.currentTarget.value)} />
          <p class="hint">It is set as security.api_key in its configuration, and is kept here until this tab is closed.</p>
        </div>
        <div class="actions">
          <button type="submit" class="button button-primary">
            Use this key
          </button>
        </div>
      </form>
    </Dialog>
  );
}
