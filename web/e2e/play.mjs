// Plays a film in a real browser and looks at the picture.
//
//   node e2e/play.mjs BASE_URL SOURCE [SCREENSHOT_DIR]
//
// Needs the gateway at BASE_URL and Chromium ($CHROMIUM, else /usr/bin/chromium). The source
// should be at least 20 s long. Prints one line of JSON; exits with 1 and says why on failure.

import { Failure, PATIENCE_MS, check, run } from './browser.mjs';

const [base, source, shots] = process.argv.slice(2);
if (base === undefined || source === undefined) {
  console.error('usage: node e2e/play.mjs BASE_URL SOURCE [SCREENSHOT_DIR]');
  process.exit(2);
}
/** A port that nothing listens on. */
const UNREACHABLE = process.env.UNREACHABLE ?? 'http://127.0.0.1:9/unreachable.mp4';

const mean = (grey) => Math.round((10 * grey.reduce((sum, value) => sum + value, 0)) / grey.length) / 10;
const distance = (a, b) => mean(a.map((value, i) => Math.abs(value - b[i])));

run(base, shots, async (visit, summary) => {
  const { page, context } = visit;

  /** The picture that is shown now, as 16 x 9 grey values. */
  const picture = () =>
    page.evaluate(() => {
      const video = document.querySelector('video');
      const canvas = document.createElement('canvas');
      canvas.width = 16;
      canvas.height = 9;
      const pen = canvas.getContext('2d');
      pen.drawImage(video, 0, 0, 16, 9);
      const pixels = pen.getImageData(0, 0, 16, 9).data;
      const grey = [];
      for (let i = 0; i < pixels.length; i += 4) grey.push(Math.round((pixels[i] + pixels[i + 1] + pixels[i + 2]) / 3));
      return { grey, decoded: video.getVideoPlaybackQuality().totalVideoFrames, width: video.videoWidth, height: video.videoHeight };
    });

  /** Seeks by a click on the bar. */
  const seek = async (share) => {
    const target = await page.evaluate((part) => {
      const line = document.querySelector('#status');
      window.heard = [];
      new MutationObserver(() => window.heard.push(line.innerText)).observe(line, { characterData: true, subtree: true });
      return document.querySelector('video').duration * part;
    }, share);
    await page.mouse.move(640, 300);
    const bar = await page.getByRole('slider', { name: 'Position' }).boundingBox();
    await page.mouse.click(bar.x + bar.width * share, bar.y + bar.height / 2);
    const ms = await visit.untilPlaying(`the seek to ${Math.round(share * 100)} %`, target - 0.5, target + 4);
    const heard = await page.evaluate(() => window.heard);
    check(heard.some((text) => text.startsWith('Seeking to ')), `the seek is not told of, only "${heard.join('", "')}"`);
    const alarm = heard.find((text) => text.includes('rying again'));
    check(alarm === undefined, `the seek to ${Math.round(share * 100)} % gave an alarm: "${alarm}"`);
    return { ms, target };
  };

  const reply = await page.goto(visit.url('/'));
  check(reply?.ok(), `the page answers ${reply?.status()}`);
  const policy = reply.headers()['content-security-policy'] ?? '';
  check(policy.includes("default-src 'none'"), 'the page has no strict Content-Security-Policy');

  // By keyboard, as a user without a mouse would.
  await page.getByLabel('Video address or path').focus();
  await page.keyboard.insertText(source);
  await visit.shot('form');
  await page.keyboard.press('Enter');
  summary.first_frame_ms = await visit.until('the first picture', () => {
    const video = document.querySelector('video');
    return video !== null && video.readyState >= 2 && video.currentTime > 0;
  });
  await visit.untilPlaying('playing from the start', 0);
  const duration = await page.evaluate(() => document.querySelector('video').duration);
  check(Number.isFinite(duration) && duration > 0, `the film's length is ${duration}`);
  check((await visit.position()) < Math.min(10, duration / 2), `the film began at ${await visit.position()} s`);
  summary.duration_s = duration;
  const start = await picture();
  check(start.decoded > 0 && start.width > 0, 'no picture was decoded');
  summary.size = `${start.width}x${start.height}`;
  summary.said_at_start = await visit.said();
  await visit.shot('playing');

  // The map tells of the tracks and their encoders.
  const lanes = page.locator('.lane-bar');
  await lanes.first().waitFor();
  await visit.until('something ready on the map', () => /^Ready: \d/.test(document.querySelector('.lane-bar')?.getAttribute('aria-label') ?? ''));
  summary.map = await lanes.first().getAttribute('aria-label');

  const far = await seek(0.9);
  summary.seek_90_ms = far.ms;
  const late = await picture();
  summary.mean_start = mean(start.grey);
  summary.mean_90 = mean(late.grey);
  summary.picture_distance = distance(start.grey, late.grey);
  check(summary.picture_distance > 1, `the picture at 90 % is the one from the start (distance ${summary.picture_distance})`);
  check(late.decoded > start.decoded, 'no further picture was decoded after the seek');
  summary.said_at_90 = await visit.said();
  await visit.shot('seek-90');

  const back = await seek(0.1);
  summary.seek_10_ms = back.ms;

  // Keys: a digit seeks to that tenth, K pauses and goes on.
  await page.keyboard.press('5');
  await visit.untilPlaying('the seek by a key', duration / 2 - 0.5, duration / 2 + 4);
  await page.keyboard.press('k');
  await visit.until('a pause by a key', () => document.querySelector('video').paused);
  await page.keyboard.press('k');
  await visit.until('going on by a key', () => !document.querySelector('video').paused);

  // Pictures above the bar.
  await page.mouse.move(640, 300);
  const bar = await page.getByRole('slider', { name: 'Position' }).boundingBox();
  await page.mouse.move(bar.x + bar.width * 0.3, bar.y + bar.height / 2);
  await page.locator('.bubble-picture').waitFor();
  await visit.shot('thumbnail');

  // Another size goes on where the film was.
  const before = await visit.position();
  await page.getByRole('button', { name: 'Quality' }).click();
  await page.getByRole('menuitemradio', { name: '360p' }).click();
  await visit.untilPlaying('the smaller size', before - 2, before + 20);
  summary.smaller = await page.evaluate(() => document.querySelector('video').videoHeight);
  check(summary.smaller <= 360 && summary.smaller > 0, `the smaller size is ${summary.smaller} high`);
  check((await page.getByRole('button', { name: 'Quality' }).innerText()) !== '', 'the size is not told');

  // It goes on in a corner of the other pages.
  await visit.visit('Jobs');
  await page.getByRole('link', { name: 'Back to the film' }).click();
  await visit.untilPlaying('the film after a look at another page', before - 2);

  // The former job is given back before the next one starts.
  const gaveBack = page.waitForRequest((request) => request.method() === 'DELETE', { timeout: PATIENCE_MS });
  await page.getByLabel('Video address or path').fill(UNREACHABLE);
  await page.locator('form.source').getByRole('button', { name: 'Play', exact: true }).click();
  await gaveBack.catch(() => {
    throw new Failure('the former job was not deleted when another film was asked for');
  });
  await visit.until('the words for an unreachable source', () => document.querySelector('#status')?.getAttribute('data-tone') === 'bad');
  summary.said_unreachable = await visit.said();
  check(/\w+ \w+ \w+/.test(summary.said_unreachable), `the error is not said in words: "${summary.said_unreachable}"`);
  check(!/undefined|\[object|null|<html/i.test(summary.said_unreachable), `the error is garbled: "${summary.said_unreachable}"`);
  check((await page.getByRole('alert').first().innerText()) !== '', 'a screen reader hears nothing of the error');
  const left = await page.locator('video, .live-map, .facts').count();
  check(left === 0, 'the player or the figures of the former film are still shown beside the error');
  await visit.shot('error');

  // A link to a job plays it, and leaving that page leaves the job alone.
  const job = await page.evaluate(async (film) => {
    const answer = await fetch('api/transcode/start', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ source: film, mode: 'stream' }),
    });
    return (await answer.json()).job_id;
  }, source);
  const status = (id) => context.request.get(visit.url(`/api/transcode/${id}/status`)).then((answer) => answer.status());
  await page.goto(visit.url(`/?job=${job}`));
  await visit.untilPlaying('the job of a link', 0);
  check((await page.getByLabel('Video address or path').inputValue()) !== '', 'the link does not name its film');
  await page.goto('about:blank');
  check((await status(job)) === 200, 'leaving the page deleted a job it did not start');
  await context.request.delete(visit.url(`/api/transcode/${job}`));

  // Leaving the page deletes the job it started; `t` is where it begins.
  const at = Math.floor(duration / 2);
  await page.goto(visit.url(`/?source=${encodeURIComponent(source)}&t=${at}`));
  check((await page.getByLabel('Video address or path').inputValue()) === source, '?source= does not fill the input');
  const started = page.waitForResponse((response) => response.url().endsWith('/api/transcode/start'));
  await page.locator('form.source').getByRole('button', { name: 'Play', exact: true }).press('Enter');
  const own = (await (await started).json()).job_id;
  await visit.untilPlaying('the film from its middle', at - 1, at + 8);
  await page.goto('about:blank');
  await visit.eventually('the end of the job after leaving the page', async () => (await status(own)) === 404, 5000);
});
