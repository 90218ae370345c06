// Plays a film in a real browser and looks at the picture.
//
//   node e2e/play.mjs BASE_URL SOURCE [SCREENSHOT_DIR]
//
// Needs the gateway at BASE_URL and Chromium ($CHROMIUM, else /usr/bin/chromium). The source
// should be at least 20 s long. Prints one line of JSON; exits with 1 and says why on failure.

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const [base, source, shots] = process.argv.slice(2);
if (base === undefined || source === undefined) {
  console.error('usage: node e2e/play.mjs BASE_URL SOURCE [SCREENSHOT_DIR]');
  process.exit(2);
}
const origin = new URL(base).origin;
/** Generous, for machines that encode slower than real time. */
const PATIENCE_MS = Number(process.env.PATIENCE_MS ?? 60_000);
/** A port that nothing listens on. */
const UNREACHABLE = process.env.UNREACHABLE ?? 'http://127.0.0.1:9/unreachable.mp4';

const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--autoplay-policy=no-user-gesture-required',
];

class Failure extends Error {}
const check = (condition, message) => {
  if (!condition) throw new Failure(message);
};

const summary = { ok: false, base, source };
const complaints = [];
const profile = mkdtempSync(join(tmpdir(), 'ghoststream-e2e-'));
if (shots !== undefined) mkdirSync(shots, { recursive: true });

const context = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: FLAGS,
  viewport: { width: 1280, height: 900 },
  colorScheme: 'dark',
});
let page = context.pages()[0] ?? (await context.newPage());

const shot = async (name) => {
  if (shots !== undefined) await page.screenshot({ path: join(shots, `${name}.png`) });
};
const said = () => page.locator('#status').innerText({ timeout: 1000 }).catch(() => '(no sentence)');
const position = () => page.evaluate(() => document.querySelector('video')?.currentTime ?? -1);

/** Waits in the page; a failure tells what the page said meanwhile. */
async function until(what, predicate, argument, patience = PATIENCE_MS) {
  const begun = performance.now();
  try {
    await page.waitForFunction(predicate, argument, { timeout: patience, polling: 20 });
  } catch {
    await shot('failure');
    throw new Failure(`${what}: not within ${patience} ms; the page says "${await said()}", the film is at ${await position()}`);
  }
  return Math.round(performance.now() - begun);
}

/** Waits until pictures are presented at `from` or later and time goes on for a second. */
async function untilPlaying(what, from, to) {
  const ms = await until(
    what,
    ([low, high]) => {
      const video = document.querySelector('video');
      return video !== null && video.readyState >= 2 && !video.seeking && video.currentTime > low && video.currentTime < high;
    },
    [from, to],
  );
  const at = await position();
  await until(`${what}: the film goes on`, (then) => (document.querySelector('video')?.currentTime ?? 0) > then + 1, at);
  return ms;
}

/** The picture that is shown now, as 16 x 9 grey values. */
function picture() {
  return page.evaluate(() => {
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
}
const mean = (grey) => Math.round((10 * grey.reduce((sum, value) => sum + value, 0)) / grey.length) / 10;
const distance = (a, b) => mean(a.map((value, i) => Math.abs(value - b[i])));

async function seek(share) {
  const target = await page.evaluate((part) => {
    const video = document.querySelector('video');
    const line = document.querySelector('#status');
    window.heard = [];
    new MutationObserver(() => window.heard.push(line.innerText)).observe(line, { characterData: true, subtree: true });
    video.currentTime = video.duration * part;
    return video.duration * part;
  }, share);
  const ms = await untilPlaying(`the seek to ${Math.round(share * 100)} %`, target - 0.5, target + 4);
  const heard = await page.evaluate(() => window.heard);
  check(heard.some((text) => text.startsWith('Seeking to ')), `the seek is not told of, only "${heard.join('", "')}"`);
  const alarm = heard.find((text) => text.includes('rying again'));
  check(alarm === undefined, `the seek to ${Math.round(share * 100)} % gave an alarm: "${alarm}"`);
  return { ms, target };
}

function watch(tab) {
  tab.on('console', (message) => {
    // A refused request is an answer this test asks for; everything else is a fault of the page.
    if (message.type() === 'error' && !/Failed to load resource/.test(message.text())) complaints.push(message.text());
  });
  tab.on('pageerror', (error) => complaints.push(String(error)));
  tab.on('request', (request) => {
    const url = request.url();
    if (/^https?:/.test(url) && new URL(url).origin !== origin) complaints.push(`the page asked another host: ${url}`);
  });
}

async function main() {
  watch(page);
  const reply = await page.goto(new URL('/', base).href);
  check(reply?.ok(), `the page answers ${reply?.status()}`);
  const policy = reply.headers()['content-security-policy'] ?? '';
  check(policy.includes("default-src 'none'"), 'the page has no strict Content-Security-Policy');

  // By keyboard, as a user without a mouse would.
  await page.getByLabel('Video address or path').focus();
  await page.keyboard.insertText(source);
  await shot('form');
  await page.keyboard.press('Enter');
  summary.first_frame_ms = await until('the first picture', () => {
    const video = document.querySelector('video');
    return video !== null && video.readyState >= 2 && video.currentTime > 0;
  });
  await untilPlaying('playing from the start', 0, Infinity);
  const duration = await page.evaluate(() => document.querySelector('video').duration);
  check(Number.isFinite(duration) && duration > 0, `the film's length is ${duration}`);
  check((await position()) < Math.min(10, duration / 2), `the film began at ${await position()} s`);
  summary.duration_s = duration;
  const start = await picture();
  check(start.decoded > 0 && start.width > 0, 'no picture was decoded');
  summary.size = `${start.width}x${start.height}`;
  summary.said_at_start = await said();
  await shot('playing');

  const far = await seek(0.9);
  summary.seek_90_ms = far.ms;
  const late = await picture();
  summary.mean_start = mean(start.grey);
  summary.mean_90 = mean(late.grey);
  summary.picture_distance = distance(start.grey, late.grey);
  check(summary.picture_distance > 1, `the picture at 90 % is the one from the start (distance ${summary.picture_distance})`);
  check(late.decoded > start.decoded, 'no further picture was decoded after the seek');
  summary.said_at_90 = await said();
  await shot('seek-90');

  const back = await seek(0.1);
  summary.seek_10_ms = back.ms;
  await shot('seek-10');

  // The former job is given back before the next one starts.
  const gaveBack = page.waitForRequest((request) => request.method() === 'DELETE', { timeout: PATIENCE_MS });
  await page.getByLabel('Video address or path').fill(UNREACHABLE);
  await page.getByRole('button', { name: 'Play', exact: true }).click();
  await gaveBack.catch(() => {
    throw new Failure('the former job was not deleted when another film was asked for');
  });
  await until('the words for an unreachable source', () => document.querySelector('#status')?.getAttribute('data-tone') === 'bad');
  summary.said_unreachable = await said();
  check(/\w+ \w+ \w+/.test(summary.said_unreachable), `the error is not said in words: "${summary.said_unreachable}"`);
  check(!/undefined|\[object|null|<html/i.test(summary.said_unreachable), `the error is garbled: "${summary.said_unreachable}"`);
  check((await page.getByRole('alert').innerText()) !== '', 'a screen reader hears nothing of the error');
  const left = await page.locator('video, .map, .facts').count();
  check(left === 0, 'the player or the figures of the former film are still shown beside the error');
  await shot('error');

  // A link to a job plays it, and leaving that page leaves the job alone.
  const job = await page.evaluate(async (film) => {
    const answer = await fetch('api/transcode/start', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ source: film, mode: 'stream' }),
    });
    return (await answer.json()).job_id;
  }, source);
  const jobStatus = () => context.request.get(new URL(`/api/transcode/${job}/status`, base).href).then((answer) => answer.status());
  await page.goto(new URL(`/?job=${job}`, base).href);
  await untilPlaying('the job of a link', 0, Infinity);
  check((await page.getByLabel('Video address or path').inputValue()) !== '', 'the link does not name its film');
  await page.goto('about:blank');
  check((await jobStatus()) === 200, 'leaving the page deleted a job it did not start');
  await context.request.delete(new URL(`/api/transcode/${job}`, base).href);

  // Leaving the page deletes the job it started.
  await page.goto(new URL(`/?source=${encodeURIComponent(source)}`, base).href);
  check((await page.getByLabel('Video address or path').inputValue()) === source, '?source= does not fill the input');
  const started = page.waitForResponse((response) => response.url().endsWith('/api/transcode/start'));
  await page.keyboard.press('Tab');
  await page.getByRole('button', { name: 'Play', exact: true }).press('Enter');
  const own = (await (await started).json()).job_id;
  await until('the second play', () => (document.querySelector('video')?.currentTime ?? 0) > 0);
  await page.goto('about:blank');
  const ownUrl = new URL(`/api/transcode/${own}/status`, base).href;
  const deadline = Date.now() + 5000;
  let ownStatus = 0;
  do ownStatus = (await context.request.get(ownUrl)).status();
  while (ownStatus !== 404 && Date.now() < deadline);
  check(ownStatus === 404, `the job is still there after leaving the page (${ownStatus})`);

  check(complaints.length === 0, `the browser complains: ${complaints.join(' | ')}`);
  summary.ok = true;
}

try {
  await main();
} catch (error) {
  summary.failure = error instanceof Failure ? error.message : String(error?.stack ?? error);
  if (complaints.length > 0) summary.complaints = complaints;
  console.error(`FAILED: ${summary.failure}`);
} finally {
  await context.close();
  rmSync(profile, { recursive: true, force: true });
}
console.log(JSON.stringify(summary));
process.exit(summary.ok ? 0 : 1);
