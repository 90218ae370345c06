// What belongs to watching beside playing, in a real browser: a film goes on where it was left, what the
// viewer likes is remembered, sizes change, sound alone plays, a source that cannot be encoded says why,
// and a film is handed on to other devices.
//
//   node e2e/watch.mjs BASE_URL FILM FILM_WITH_TRACKS SOUND UNREADABLE [SCREENSHOT_DIR]
//
// FILM is longer than 40 seconds; SOUND has no picture; UNREADABLE can be probed and not decoded. Exits
// with 1 and says why on failure.

import { basename } from 'node:path';
import { check, run } from './browser.mjs';

const [base, film, tracks, sound, unreadable, shots] = process.argv.slice(2);
if (unreadable === undefined) {
  console.error('usage: node e2e/watch.mjs BASE_URL FILM FILM_WITH_TRACKS SOUND UNREADABLE [SCREENSHOT_DIR]');
  process.exit(2);
}

run(base, shots, async (visit, summary) => {
  const { page } = visit;
  const play = async (source) => {
    await page.getByLabel('Video address or path').fill(source);
    await page.locator('form.source').getByRole('button', { name: 'Play', exact: true }).click();
  };
  const stop = () => page.getByRole('button', { name: /^(Stop|Close)$/ }).click();
  const choose = async (menu, item) => {
    await page.mouse.move(640, 300);
    await page.mouse.move(640, 320);
    await page.getByRole('button', { name: menu }).click();
    await page.getByRole('menuitemradio', item).click();
  };

  // ------------------------------------------------------------ it goes on where it was left
  await page.goto(visit.url('/'));
  await play(film);
  await visit.untilPlaying('the film', 0);
  await page.keyboard.press('6');
  const duration = await page.evaluate(() => document.querySelector('video').duration);
  await visit.untilPlaying('the film at six tenths', duration * 0.6 - 0.5);
  await page.keyboard.press('k');
  const left = await visit.position();
  await stop();
  await page.reload();
  const card = page.getByRole('region', { name: 'Go on watching' }).getByRole('button').first();
  check((await card.innerText()).includes(basename(film)), 'the film that was begun is not offered');
  await visit.shot('go-on');
  await visit.audit('Watch with films to go on with');
  await card.click();
  await visit.untilPlaying('the film from where it was left', left - 3, left + 10);
  await page.getByRole('button', { name: 'From the beginning' }).click();
  await visit.untilPlaying('the film from its beginning', 0, 10);

  // ------------------------------------------------------------ elsewhere
  await page.getByRole('button', { name: 'Elsewhere' }).click();
  const dialog = page.getByRole('dialog');
  const stream = await dialog.getByLabel('Address of the stream').innerText();
  const playlist = await (await visit.context.request.get(stream)).text();
  check(playlist.startsWith('#EXTM3U'), `the address of the stream gives "${playlist.slice(0, 40)}"`);
  check((await dialog.getByLabel('Command for VLC').innerText()) === `vlc ${stream}`, 'the command does not name the stream');
  await visit.audit('the dialog of other devices');
  await visit.shot('elsewhere');
  await dialog.getByRole('button', { name: 'Close' }).click();

  // ------------------------------------------------------------ sizes change in the adaptive stream
  await choose('Quality', { name: /^Adaptive/ });
  await visit.untilPlaying('the adaptive stream', 0);
  await page.evaluate(() => {
    window.waits = 0;
    document.querySelector('video').addEventListener('waiting', () => (window.waits += 1));
  });
  await choose('Quality', { name: '360p', exact: true });
  summary.to_360p_ms = await visit.until('the small size', () => document.querySelector('video').videoHeight <= 360);
  await choose('Quality', { name: '480p', exact: true });
  summary.to_480p_ms = await visit.until('the larger size', () => document.querySelector('video').videoHeight > 360);
  // How often it stood still depends on the machine; it is told.
  summary.waits = await page.evaluate(() => window.waits);
  await stop();

  // ------------------------------------------------------------ subtitles are remembered
  const shown = () =>
    visit.until('subtitles', () => Array.from(document.querySelector('video')?.textTracks ?? []).some((track) => track.mode === 'showing' && track.cues?.length > 0));
  await play(tracks);
  await visit.untilPlaying('the film with tracks', 0);
  await page.mouse.move(640, 300);
  await page.getByRole('button', { name: 'Subtitles' }).click();
  await page.getByRole('menuitemradio').nth(1).click();
  await shown();
  await stop();
  await page.reload();
  await play(tracks);
  await visit.untilPlaying('the film with tracks again', 0);
  await shown();
  await stop();

  // ------------------------------------------------------------ sound alone
  await play(sound);
  await visit.until('the sound', () => (document.querySelector('video')?.currentTime ?? 0) > 0.5);
  await page.locator('.sound-only').waitFor();
  check((await page.getByRole('button', { name: /^Quality/ }).count()) === 0, 'sound has a menu of sizes');
  await visit.shot('sound');
  await stop();

  // ------------------------------------------------------------ what cannot be encoded
  await play(unreadable);
  summary.said_unreadable_ms = await visit.until('the reason', () => document.querySelector('#status')?.getAttribute('data-tone') === 'bad');
  summary.said_unreadable = await visit.said();
  check(/\w+ \w+ \w+/.test(summary.said_unreadable), `it is not said in words: "${summary.said_unreadable}"`);
});
