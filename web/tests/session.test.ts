import { describe, expect, it, vi } from 'vitest';
import { ApiError, Gateway, readJob, type Job } from '../src/client';
import { JobSession, type SessionView } from '../src/session';

const TIMING = { pollMs: 1, slowPollMs: 1, releaseMs: 50 };
const request = (source: string) => ({ source, quality: 'original', video: 'h264' }) as const;
const job = (id: string, extra: object = {}): Job => readJob({ job_id: id, status: 'processing', progress: 1, ...extra });

/** A gateway whose answers the test decides; it writes down what it is asked. */
class Scripted extends Gateway {
  readonly log: string[] = [];
  readonly starts: Array<(job: Job | Error) => void> = [];
  answer: (id: string) => Job | Error = (id) => job(id);

  constructor() {
    super('http://gw/', 'visit', () => Promise.reject(new Error('unused')));
  }
  override start(wanted: { source: string }): Promise<Job> {
    this.log.push(`start ${wanted.source}`);
    return new Promise((resolve, reject) => {
      this.starts.push((result) => (result instanceof Error ? reject(result) : resolve(result)));
    });
  }
  override status(id: string): Promise<Job> {
    const answer = this.answer(id);
    return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
  }
  override release(released: Pick<Job, 'id' | 'shared'>): Promise<void> {
    this.log.push(`${released.shared ? 'leave' : 'delete'} ${released.id}`);
    return Promise.resolve();
  }
}

function setUp() {
  const gateway = new Scripted();
  const views: SessionView[] = [];
  const session = new JobSession(gateway, (view) => views.push(view), TIMING);
  const last = (): SessionView | undefined => views[views.length - 1];
  const started = async (count: number, result: Job | Error): Promise<void> => {
    await vi.waitFor(() => expect(gateway.starts).toHaveLength(count));
    gateway.starts[count - 1]?.(result);
  };
  return { gateway, session, views, last, started };
}

describe('the job of the page', () => {
  it('is followed until it fails', async () => {
    const { gateway, session, last, started } = setUp();
    const done = session.play(request('a'));
    gateway.answer = () => job('1', { status: 'error', error_message: 'not media' });
    await started(1, job('1'));
    await done;
    expect(last()).toMatchObject({ kind: 'job', job: { state: 'error', error: 'not media' } });
  });
  it('is deleted before the next one starts', async () => {
    const { gateway, session, started, last } = setUp();
    void session.play(request('a'));
    await started(1, job('1'));
    await vi.waitFor(() => expect(last()).toMatchObject({ kind: 'job' }));
    void session.play(request('b'));
    await started(2, job('2'));
    expect(gateway.log).toEqual(['start a', 'delete 1', 'start b']);
    session.stop();
  });
  it('is deleted when its start was overtaken', async () => {
    const { gateway, session, started, last } = setUp();
    void session.play(request('a'));
    await vi.waitFor(() => expect(gateway.starts).toHaveLength(1));
    void session.play(request('b'));
    await started(2, job('2'));
    gateway.starts[0]?.(job('1'));
    await vi.waitFor(() => expect(gateway.log).toEqual(['start a', 'start b', 'delete 1']));
    expect(last()).toMatchObject({ kind: 'job', job: { id: '2' } });
    session.stop();
  });
  it('is deleted when the page is left, once', async () => {
    const { gateway, session, started, last } = setUp();
    void session.play(request('a'));
    await started(1, job('1'));
    await vi.waitFor(() => expect(last()).toMatchObject({ kind: 'job' }));
    session.leave();
    session.leave();
    expect(gateway.log).toEqual(['start a', 'delete 1']);
    expect(last()).toEqual({ kind: 'parted' });
  });
  it('outlives the page when others were told of it', async () => {
    const { gateway, session, started, last } = setUp();
    void session.play(request('a'));
    await started(1, job('1'));
    await vi.waitFor(() => expect(last()).toMatchObject({ kind: 'job' }));
    session.share();
    session.leave();
    session.stop();
    expect(gateway.log).toEqual(['start a']);
  });
  it('is only left when others have joined it meanwhile', async () => {
    const { gateway, session, started, last } = setUp();
    gateway.answer = () => job('1', { viewer_count: 2 });
    void session.play(request('a'));
    await started(1, job('1'));
    await vi.waitFor(() => expect(last()).toMatchObject({ job: { shared: true } }));
    session.leave();
    expect(gateway.log).toEqual(['start a', 'leave 1']);
  });
  it('is not touched when it was opened by a link', async () => {
    const { gateway, session, last } = setUp();
    void session.open('9');
    await vi.waitFor(() => expect(last()).toMatchObject({ kind: 'job', job: { id: '9' } }));
    session.leave();
    session.stop();
    expect(gateway.log).toEqual([]);
  });
});

describe('a gateway that does not do as asked', () => {
  it('is quoted', async () => {
    const { session, started, last } = setUp();
    const done = session.play(request('a'));
    await started(1, new ApiError(400, 'outside the roots'));
    await done;
    expect(last()).toEqual({ kind: 'refused', status: 400, reason: 'outside the roots' });
  });
  it('is reported lost after two unanswered questions, and found again', async () => {
    const { gateway, session, views, started } = setUp();
    let asked = 0;
    gateway.answer = () => (++asked <= 2 ? new ApiError(0, 'x') : job('1'));
    void session.play(request('a'));
    await started(1, job('1'));
    await vi.waitFor(() => expect(asked).toBeGreaterThan(3));
    const contacts = views.flatMap((view) => (view.kind === 'job' ? [view.contact] : []));
    expect(contacts.slice(0, 3)).toEqual(['good', 'lost', 'good']);
    session.stop();
  });
  it('has lost the job: it is neither asked for nor deleted again', async () => {
    const { gateway, session, started, last } = setUp();
    gateway.answer = () => new ApiError(404, 'Job not found');
    const done = session.play(request('a'));
    await started(1, job('1'));
    await done;
    expect(last()).toMatchObject({ kind: 'job', contact: 'gone' });
    session.leave();
    expect(gateway.log).toEqual(['start a']);
  });
});
