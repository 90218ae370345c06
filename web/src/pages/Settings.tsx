import { useMemo, useState } from 'preact/hooks';
import type { Setting } from '../client';
import { KEYS } from '../components/Keys';
import { SearchIcon } from '../components/icons';
import { asSentence } from '../sentence';
import { useAnswer, useShared } from '../shared';

/** What the page itself is made of. */
const PARTS: ReadonlyArray<readonly [string, string, string]> = [
  ['Preact', 'MIT', 'the page'],
  ['hls.js', 'Apache-2.0', 'the player'],
  ['FFmpeg', 'LGPL or GPL, as it was built', 'decodes and encodes, as a program of its own'],
];

/** Everything that is in the program, asked for when somebody wants to know. */
function Licences() {
  const { gateway } = useShared();
  const [open, setOpen] = useState(false);
  const parts = useAnswer(async (signal) => (open ? gateway.licenses(signal) : null), [open]);
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Every crate and package in the program, with its licence</summary>
      {parts.error !== null && <p class="note note-bad">{asSentence(parts.error)}</p>}
      <ul class="licences">
        {(parts.value ?? []).map((part) => (
          <li key={`${part.name} ${part.version}`}>
            {part.name} <span class="hint">{`${part.version} · ${part.license}`}</span>
          </li>
        ))}
      </ul>
    </details>
  );
}

/** A value as the configuration file would say it. */
export function valueWords(setting: Setting): string {
  if (setting.is_secret) return setting.is_set ? 'set, and hidden' : 'not set';
  const { value } = setting;
  if (value === null || value === undefined) return 'not set';
  if (Array.isArray(value)) return value.length === 0 ? 'none' : value.map(String).join(', ');
  return String(value);
}

/** The configuration in effect, and what this is. */
export function Settings() {
  const { gateway } = useShared();
  const { value, error } = useAnswer((signal) => gateway.settings(signal), []);
  const machine = useAnswer((signal) => gateway.capabilities(signal), []);
  const [filter, setFilter] = useState('');
  const [changed, setChanged] = useState(false);
  const sections = useMemo(() => {
    const words = filter.toLowerCase().split(/\s+/).filter((word) => word !== '');
    const found = (value?.settings ?? []).filter(
      (setting) =>
        (!changed || !setting.is_default) &&
        words.every((word) => setting.key.includes(word) || valueWords(setting).toLowerCase().includes(word)),
    );
    const bySection = new Map<string, Setting[]>();
    for (const setting of found) {
      const section = setting.key.split('.')[0] ?? '';
      bySection.set(section, [...(bySection.get(section) ?? []), setting]);
    }
    return [...bySection];
  }, [value, filter, changed]);
  return (
    <div class="page">
      <header class="page-head">
        <h1 tabIndex={-1}>Settings</h1>
      </header>
      <section aria-labelledby="about-title" class="panel about">
        <h2 id="about-title">About</h2>
        <p>
          <strong>GhostStream {value?.version ?? ''}</strong>
          {machine.value !== null && ` on ${machine.value.platform}, with ffmpeg ${machine.value.ffmpeg_version}`}
        </p>
        <p class="hint">Licence: {value?.license ?? 'MIT OR Apache-2.0'}. It stands on the work of others:</p>
        <ul class="parts">
          {PARTS.map(([name, licence, what]) => (
            <li key={name}>
              <strong>{name}</strong> <span class="hint">{`${licence} · ${what}`}</span>
            </li>
          ))}
        </ul>
        <Licences />
      </section>
      <section aria-labelledby="config-title">
        <div class="section-head">
          <h2 id="config-title">Configuration in effect</h2>
          <label class="search">
            <SearchIcon />
            <span class="sr">Show only keys with</span>
            <input type="search" placeholder="Filter" value={filter} onInput={(event) => setFilter(event.currentTarget.value)} />
          </label>
          <label class="check">
            <input type="checkbox" checked={changed} onChange={(event) => setChanged(event.currentTarget.checked)} />
            Only what is not default
          </label>
        </div>
        {error !== null && value === null && (
          <p class="note note-bad" role="alert">
            {asSentence(error)}
          </p>
        )}
        {value !== null && sections.length === 0 && <div class="empty">{changed && filter === '' ? 'Everything has its default.' : 'No key matches.'}</div>}
        {sections.map(([section, settings]) => (
          <section key={section} class="settings-section" aria-label={section}>
            <h3>{section}</h3>
            <dl class="settings">
              {settings.map((setting) => (
                <div key={setting.key} class="setting" data-changed={!setting.is_default}>
                  <dt>
                    <code>{setting.key}</code>
                    <span class="hint">may be {setting.allowed}</span>
                  </dt>
                  <dd>
                    <span class={setting.is_set ? 'setting-value' : 'setting-value setting-unset'}>{valueWords(setting)}</span>
                    {setting.origin !== 'default' && <span class="origin">{setting.origin}</span>}
                  </dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
      </section>
      <section aria-labelledby="keys-title">
        <h2 id="keys-title">Keys of the player</h2>
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
      </section>
    </div>
  );
}
