// Plays an adaptive stream and changes its size: by hand, and because the network became slow.
//
//   node e2e/ladder.mjs BASE_URL SOURCE [SCREENSHOT_DIR]
//
// The source should be at least 30 s long and 720 pixels high or more. As play.mjs otherwise.

import { check, run } from './browser.mjs';

const [base, source, shots] = process.argv.slice(2);
if (base === undefined || source === undefined) {
  console.error('usage: node e2e/ladder.mjs BASE_URL SOURCE [SCREENSHOT_DIR]');
  process.exit(2);
}
/** What carries the smallest sizes and no more. */
const SLOW = { offline: false, latency: 20, downloadThroughput: 2_500_000 / 8, uploadThroughput: 2_500_000 / 8 };
const FAST = { ...SLOW, latency: 0, downloadThroughput: -1, uploadThroughput: -1 };

run(base, shots, async (visit, summary) => {
  const { page, context } = visit;

  const menu = async () => {
    await page.mouse.move(640, 300);
    await page.getByRole('button', { name: 'Quality' }).click();
    return page.getByRole('menuitemradio');
  };
  const choose = async (name) => {
    await (await menu()).filter({ hasText: new RegExp(`^${name}`) }).first().click();
  };
  const height = () => page.evaluate(() => document.querySelector('video').videoHeight);
  const shown = (wanted) =>
    visit.until(`pictures of ${wanted} lines`, (lines) => Math.abs(document.querySelector('video').videoHeight - lines) <= 2, wanted);

  // From here on every picture is noted: the film may neither jump nor show a place twice.
  const watch = () =>
    page.evaluate(() => {
      const video = document.querySelector('video');
      window.seen = [];
      const note = (_now, picture) => {
        window.seen.push([picture.mediaTime, picture.height]);
        video.requestVideoFrameCallback(note);
      };
      video.requestVideoFrameCallback(note);
    });
  /** The longest step between two pictures that were shown since `watch`, and the heights they had. */
  const watched = () =>
    page.evaluate(() => {
      const steps = window.seen.slice(1).map(([time], i) => time - window.seen[i][0]);
      return { back: Math.min(...steps), on: Math.max(...steps), heights: [...new Set(window.seen.map(([, lines]) => lines))] };
    });

  await page.goto(visit.url('/'));
  await page.getByLabel('Video address or path').fill(source);
  await page.keyboard.press('Enter');
  await visit.untilPlaying('playing from the start', 0);
  await choose('Adaptive');
  await visit.untilPlaying('the adaptive stream', 0);
  const sizes = (await (await menu()).allInnerTexts()).map((text) => parseInt(text, 10)).filter(Number.isFinite);
  await page.keyboard.press('Escape');
  summary.sizes = sizes;
  check(sizes.length >= 2, `the ladder has the sizes ${sizes.join(', ')}`);
  const [least, best] = [Math.min(...sizes), Math.max(...sizes)];

  await choose(`${least}p`);
  await shown(least);
  await watch();
  await choose(`${best}p`);
  summary.by_hand_ms = await shown(best);
  await visit.untilPlaying('the best size', 0);
  const byHand = await watched();
  summary.by_hand = byHand;
  check(byHand.back > -0.001, `a change of size went back by ${-byHand.back} s`);
  check(byHand.on < 0.5, `a change of size left out ${byHand.on} s`);
  await visit.shot('best');

  // By itself: to what the network carries, and back.
  await choose('Adaptive');
  const network = await context.newCDPSession(page);
  await network.send('Network.enable');
  await network.send('Network.emulateNetworkConditions', SLOW);
  // What is in the buffer hides the network for half a minute: a seek empties it.
  const duration = await page.evaluate(() => document.querySelector('video').duration);
  await page.evaluate((to) => (document.querySelector('video').currentTime = to), duration * 0.6);
  summary.slow_ms = await visit.until('a smaller size', (lines) => document.querySelector('video').videoHeight < lines, best);
  summary.slow = await height();
  await visit.untilPlaying('the film on a slow network', duration * 0.6 - 1);
  await visit.shot('slow');
  await network.send('Network.emulateNetworkConditions', FAST);
  await page.evaluate(() => (document.querySelector('video').currentTime = 1));
  const small = summary.slow;
  summary.fast_ms = await visit.until('a larger size again', (lines) => document.querySelector('video').videoHeight > lines, small);
  await visit.untilPlaying('the film on a fast network', 0);
});
