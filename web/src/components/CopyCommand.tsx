import { useState } from 'preact/hooks';
import { CopyIcon } from './icons';

/** Copies a text; the clipboard is closed to pages that did not come over https. */
async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement('textarea');
    area.value = text;
    area.className = 'sr';
    document.body.append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    return done;
  }
}

/** A command, and a button that copies it. */
export function CopyCommand({ command, label }: { readonly command: string; readonly label: string }) {
  const [copied, setCopied] = useState<boolean | null>(null);
  return (
    <div class="command">
      <pre tabIndex={0} aria-label={label}>
        <code>{command}</code>
      </pre>
      <button
        type="button"
        class="button"
        onClick={() => {
          void copy(command).then((done) => {
            setCopied(done);
            setTimeout(() => setCopied(null), 2000);
          });
        }}
      >
        <CopyIcon />
        {copied === null ? 'Copy' : copied ? 'Copied' : 'Select it by hand'}
        <span class="sr">: {label}</span>
      </button>
    </div>
  );
}
