// A file is given to the gateway in a real browser, made ready by it, and played.
//
//   node e2e/upload.mjs BASE_URL FILE [SCREENSHOT_DIR]
//
// Needs a gateway that takes videos at BASE_URL, with peertube.local_fallback_seconds set, so that no
// runner is needed. FILE is a file of this machine. Exits with 1 and says why on failure.

import { basename } from 'node:path';
import { check, run } from './browser.mjs';

const [base, file, shots] = process.argv.slice(2);
if (file === undefined) {
  console.error('usage: node e2e/upload.mjs BASE_URL FILE [SCREENSHOT_DIR]');
  process.exit(2);
}

run(base, shots, async (visit, summary) => {
  const { page } = visit;
  const name = basename(file);
  await page.goto(visit.url('/'));
  await page.getByRole('button', { name: 'Upload a file' }).waitFor();
  await page.getByLabel('File to upload').setInputFiles(file);
  const entry = page.locator('[data-video]', { hasText: name }).first();
  await entry.waitFor();
  await visit.shot('upload');
  await visit.audit('Watch with an upload');
  await visit.eventually('the film being ready', async () => {
    const state = await entry.getAttribute('data-video');
    check(state !== 'failed', `the film failed: ${await entry.innerText()}`);
    return state === 'done';
  });
  await entry.getByRole('button', { name: `Play ${name}` }).click();
  await visit.untilPlaying('the film', 0);
  summary.size = await page.evaluate(() => `${document.querySelector('video').videoWidth}x${document.querySelector('video').videoHeight}`);
  await visit.shot('upload-playing');
  await page.getByRole('button', { name: 'Stop', exact: true }).click();
  await entry.getByRole('button', { name: `Delete ${name}` }).click();
  await visit.eventually('the film being gone', async () => (await entry.count()) === 0);

  // Runners join with a token that is made here.
  await visit.visit('Machines');
  await page.getByRole('button', { name: 'PeerTube runner' }).click();
  await page.getByRole('button', { name: 'Make a token' }).click();
  await visit.eventually('the token', async () => !/ TOKEN /.test(await page.getByLabel('Command for a PeerTube runner').innerText()));
});
