import { useEffect, useRef, useState } from 'preact/hooks';

/** Asks for `security.api_key`. The key lives as long as the page. */
export function KeyForm({ onKey }: { readonly onKey: (key: string) => void }) {
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
      <label class="field">
        <span class="label">API key of this gateway</span>
        <input
          ref={input}
          type="password"
          required
          autoComplete="off"
          value={key}
          onInput={(event) => setKey(event.currentTarget.value)}
        />
      </label>
      <button type="submit" class="plain">
        Use this key
      </button>
    </form>
  );
}
