import type { ComponentChildren } from 'preact';
import { useEffect, useId, useRef, useState } from 'preact/hooks';

export interface MenuItem {
  readonly id: string;
  readonly name: string;
  /** A word or two beside it. */
  readonly note?: string;
}

interface Props {
  /** What is chosen, for those who hear the button. */
  readonly label: string;
  readonly items: readonly MenuItem[];
  readonly chosen: string;
  readonly onChoose: (id: string) => void;
  /** What the button shows. */
  readonly children: ComponentChildren;
  readonly class?: string;
}

/** A button with a list to choose one from; arrows, Home, End and Escape as in any menu. */
export function Menu({ label, items, chosen, onChoose, children, class: name = '' }: Props) {
  const [open, setOpen] = useState(false);
  const id = useId();
  const root = useRef<HTMLDivElement>(null);
  const list = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);

  useEffect(() => {
    if (!open) return undefined;
    list.current?.querySelector<HTMLElement>('[aria-checked="true"], [role="menuitemradio"]')?.focus();
    const outside = (event: Event): void => {
      if (root.current !== null && !root.current.contains(event.target as Node)) setOpen(false);
    };
    document.addEventListener('pointerdown', outside);
    return () => document.removeEventListener('pointerdown', outside);
  }, [open]);

  const close = (): void => {
    setOpen(false);
    button.current?.focus();
  };

  const walk = (event: KeyboardEvent): void => {
    if (!open) return;
    if (event.key === 'Escape' || event.key === 'Tab') {
      close();
      if (event.key === 'Escape') event.preventDefault();
      event.stopPropagation();
      return;
    }
    const entries = [...(list.current?.querySelectorAll<HTMLElement>('[role="menuitemradio"]') ?? [])];
    const at = entries.indexOf(document.activeElement as HTMLElement);
    const target = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: entries.length - 1 }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    entries[(target + entries.length) % entries.length]?.focus();
  };

  return (
    <div ref={root} class={`menu ${name}`} onKeyDown={walk}>
      <button
        ref={button}
        type="button"
        class="control"
        aria-haspopup="menu"
        aria-expanded={open}
        aria-controls={open ? id : undefined}
        aria-label={label}
        title={label}
        onClick={() => setOpen(!open)}
      >
        {children}
      </button>
      {open && (
        <div ref={list} id={id} class="menu-list" role="menu" aria-label={label}>
          {items.map((item) => (
            <button
              key={item.id}
              type="button"
              class="menu-item"
              role="menuitemradio"
              aria-checked={item.id === chosen}
              tabIndex={-1}
              onClick={() => {
                close();
                onChoose(item.id);
              }}
            >
              <span>{item.name}</span>
              {item.note !== undefined && <span class="menu-note">{item.note}</span>}
            </button>
          ))}
        </div>
      )}
    </div>
  );
}
