// Ten thousand jobs in the list, in a real browser: only those in sight are drawn, all can be scrolled
// to; how long a picture took is told.
//
//   node e2e/many.mjs BASE_URL [SCREENSHOT_DIR]
//
// The gateway at BASE_URL must not do queued work itself (local_engine.enabled: false). Exits with 1 and
// says why on failure.

import { check, run } from './browser.mjs';

const [base, shots] = process.argv.slice(2);
if (base === undefined) {
  console.error('usage: node e2e/many.mjs BASE_URL [SCREENSHOT_DIR]');
  process.exit(2);
}
const JOBS = Number(process.env.JOBS ?? 10_000);
/** Rows that may be drawn at one time. */
const MOST_ROWS = 60;

run(base, shots, async (visit, summary) => {
  const { page } = visit;
  let next = 0;
  const queue = async () => {
    while (next < JOBS) {
      const i = next;
      next += 1;
      const answer = await fetch(visit.url('/jobs/'), {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ source_url: `https://films.example/film-${i}.mp4`, target_codec: 'h264', job_size: i % 900 }),
      });
      check(answer.ok, `job ${i} was answered ${answer.status}`);
      await answer.arrayBuffer();
    }
  };
  const begun = performance.now();
  await Promise.all(Array.from({ length: 16 }, queue));
  summary.queued_ms = Math.round(performance.now() - begun);

  await page.goto(visit.url('/#/jobs'));
  await page.locator('.row').first().waitFor();
  await page.getByRole('button', { name: `All ${JOBS}` }).waitFor();
  check((await page.locator('.row').first().getAttribute('aria-setsize')) === String(JOBS), 'the list does not say how many there are');

  // Down to the very end, as fast as the list lets one.
  const measured = await page.evaluate(async (all) => {
    const frames = [];
    let most = 0;
    let last = performance.now();
    const deadline = last + 120_000;
    for (;;) {
      await new Promise((resolve) => requestAnimationFrame(resolve));
      const now = performance.now();
      frames.push(now - last);
      last = now;
      most = Math.max(most, document.querySelectorAll('.row').length);
      scrollBy({ top: 600, behavior: 'instant' });
      const seen = Math.max(...Array.from(document.querySelectorAll('.row'), (row) => Number(row.getAttribute('aria-posinset'))));
      if (seen >= all || now > deadline) {
        frames.sort((a, b) => a - b);
        return { seen, most, frames: frames.length, median: frames[frames.length >> 1], p99: frames[Math.floor(frames.length * 0.99)] };
      }
    }
  }, JOBS);
  Object.assign(summary, {
    rows_drawn_at_most: measured.most,
    frames: measured.frames,
    frame_ms_median: Math.round(10 * measured.median) / 10,
    frame_ms_p99: Math.round(10 * measured.p99) / 10,
  });
  check(measured.seen === JOBS, `only ${measured.seen} jobs could be scrolled to`);
  check(measured.most <= MOST_ROWS, `${measured.most} rows were drawn at one time`);
  await visit.shot('many');

  // A change far down the list shows.
  const row = page.locator('.row').last();
  await row.getByRole('button', { name: /^Cancel/ }).click();
  await visit.eventually('the job being cancelled', async () => (await row.locator('.job').getAttribute('data-state')) === 'cancelled');
});
