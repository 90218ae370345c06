import { useEffect, useRef, useState } from 'preact/hooks';
import { useShared } from '../shared';

/** Pictures that are asked for at one time: each is an encoder's work on the gateway. */
const AT_ONCE = 2;
let asking = 0;
const waiting: Array<() => void> = [];

/** Waits for a place; the returned function gives it back. */
async function place(signal: AbortSignal): Promise<() => void> {
  while (asking >= AT_ONCE) {
    await new Promise<void>((resolve) => {
      waiting.push(resolve);
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
    signal.throwIfAborted();
  }
  asking += 1;
  let held = true;
  return () => {
    if (!held) return;
    held = false;
    asking -= 1;
    waiting.shift()?.();
  };
}

/** Pictures that were there before, the latest used last. */
const kept = new Map<string, ImageBitmap>();
const MOST_KEPT = 120;

/**
 * A picture of a source, `at` seconds or where it is likely to show something, fetched when it comes into
 * sight. Drawn on a canvas: an image element could not send the key.
 */
export function Picture({ source, width, at = null }: { readonly source: string; readonly width: number; readonly at?: number | null }) {
  const { gateway, keyed } = useShared();
  const canvas = useRef<HTMLCanvasElement>(null);
  const [shown, setShown] = useState(false);
  const name = `${source} ${at ?? ''}`;

  useEffect(() => {
    const element = canvas.current;
    if (element === null) return undefined;
    const ended = new AbortController();
    const draw = (picture: ImageBitmap): void => {
      element.width = picture.width;
      element.height = picture.height;
      element.getContext('2d')?.drawImage(picture, 0, 0);
      setShown(true);
    };
    const load = async (): Promise<void> => {
      const before = kept.get(name);
      if (before !== undefined) return draw(before);
      let giveBack = (): void => undefined;
      try {
        giveBack = await place(ended.signal);
        const picture = await createImageBitmap(await gateway.thumb(source, width, at, ended.signal));
        kept.set(name, picture);
        const oldest = kept.keys().next().value;
        if (kept.size > MOST_KEPT && oldest !== undefined) kept.delete(oldest);
        if (!ended.signal.aborted) draw(picture);
      } catch {
        // What has no picture keeps its symbol.
      } finally {
        giveBack();
      }
    };
    const sight = new IntersectionObserver(
      (entries) => {
        if (!entries.some((entry) => entry.isIntersecting)) return;
        sight.disconnect();
        void load();
      },
      { rootMargin: '120px' },
    );
    sight.observe(element);
    return () => {
      ended.abort();
      sight.disconnect();
    };
  }, [name, keyed]);

  return <canvas ref={canvas} class={shown ? 'picture picture-shown' : 'picture'} width={16} height={9} aria-hidden="true" />;
}
