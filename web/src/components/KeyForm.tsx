import { useEffect, useId, useRef, useState } from 'preact/hooks';

/** Asks for `security.api_key`. The key lives as long as the page. */
export function KeyForm({ onKey }: { readonly onKey: (key: string) => void }) {
  // The page and the dialog over it may both ask.
  const id = useId();
  const [key, setKey] = useState('');
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => input.current?.focus(), []);
  return (
    <form
      class="key"
      onSubmit={(event) => {
        event.preventDefault();
        onKey(key.trim());
      }}
    >
      <div class="field">
        <label for={id}>API key of this gateway</label>
        <input
          id={id}
          ref={input}
          type="password"
          required
          autoComplete="off"
          value={key}
          onInput={(event) => setKey(event.currentTarget.value)}
        />
      </div>
      <button type="submit" class="plain">
        Use this key
      </button>
    </form>
  );
}
