import { describe, expect, it } from 'vitest';
import { ApiError, type QueueJob, type ServerEvent, readEvent, readEvents } from '../src/client';
import { Live, type LiveView } from '../src/live';

const body = (...chunks: string[]): ReadableStream<Uint8Array> =>
  new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(new TextEncoder().encode(chunk));
      controller.close();
    },
  });

describe('server-sent events', () => {
  it('are read wherever the network cuts them', async () => {
    const heard: ServerEvent[] = [];
    await readEvents(body('event: streams\nda', 'ta: {"streams":[]}\n', '\n: still here\n\nevent: missed\r\ndata: {}\r\n\r\nevent: jo'), (event) =>
      heard.push(event),
    );
    expect(heard).toEqual([{ kind: 'streams', streams: [] }, { kind: 'missed' }]);
  });
  it('that are not known or broken are passed over', () => {
    expect(readEvent('event: weather\ndata: {}')).toBeNull();
    expect(readEvent('event: jobs\ndata: {')).toBeNull();
    expect(readEvent(': comment')).toBeNull();
  });
});

describe('the connection', () => {
  it('comes back, and then the list is asked for anew', async () => {
    const turns: ServerEvent[][] = [[{ kind: 'streams', streams: [] }], [{ kind: 'streams', streams: [] }]];
    const heard: Array<readonly QueueJob[] | null> = [];
    const seen: string[] = [];
    await new Promise<void>((resolve) => {
      const live = new Live(
        {
          events: (tell) => {
            const turn = turns.shift();
            if (turn === undefined) {
              resolve();
              return new Promise(() => undefined);
            }
            turn.forEach(tell);
            return Promise.resolve();
          },
        },
        (view: LiveView) => seen.push(view.contact),
        0,
      );
      live.onJobs((jobs) => heard.push(jobs));
      live.start();
    });
    expect(seen).toEqual(['good', 'lost', 'good', 'lost']);
    expect(heard).toEqual([null]);
  });
  it('waits for a key when the gateway wants one', async () => {
    const contact = await new Promise((resolve) => {
      const live = new Live({ events: () => Promise.reject(new ApiError(401, 'no')) }, (view) => resolve(view.contact), 0);
      live.start();
    });
    expect(contact).toBe('locked');
  });
});
