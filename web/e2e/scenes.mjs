// A film is split into scenes, encoded by the gateway's own engine, previewed and deleted, in a real
// browser.
//
//   node e2e/scenes.mjs BASE_URL SOURCE [SCREENSHOT_DIR]
//
// Needs a gateway with the grav1 front door at BASE_URL. Exits with 1 and says why on failure.

import { check, run } from './browser.mjs';

const [base, source, shots] = process.argv.slice(2);
if (source === undefined) {
  console.error('usage: node e2e/scenes.mjs BASE_URL SOURCE [SCREENSHOT_DIR]');
  process.exit(2);
}

run(base, shots, async (visit, summary) => {
  const { page } = visit;
  await page.goto(visit.url('/#/scenes'));
  await page.getByRole('button', { name: 'New project' }).click();
  const dialog = page.getByRole('dialog');
  const form = dialog.getByLabel('Films of this gateway');

  // What is wrong is said, and nothing is lost.
  await form.fill('no/such/film.mkv');
  await dialog.getByRole('button', { name: 'Start' }).click();
  summary.refused = await dialog.getByRole('alert').innerText();
  check(summary.refused.includes('no/such/film.mkv'), `the refusal does not name the file: "${summary.refused}"`);
  await visit.audit('the dialog of a new project');

  await form.fill(source);
  await dialog.getByLabel('Encoder', { exact: true }).selectOption('svt-av1');
  await dialog.getByLabel('Parameters of the encoder').fill('-preset 12 -crf 45');
  await dialog.getByLabel('Longest scene, frames').fill('96');
  await dialog.getByRole('button', { name: 'Start' }).click();
  await page.locator('.project').first().waitFor();
  const tiles = page.locator('.scene');
  await visit.eventually('the scenes', async () => (await tiles.count()) > 0);
  await visit.shot('scenes-begun');

  // It stands still while it is paused.
  const pause = page.getByRole('button', { name: 'Pause' });
  if ((await pause.count()) > 0) {
    await pause.click();
    await page.getByRole('button', { name: 'Go on' }).click();
  }
  await visit.eventually('a scene that is done', async () => (await page.locator('.scene[data-state="done"]').count()) > 0);
  await visit.eventually(
    'the whole film',
    async () => (await page.locator('#project-title ~ .pill').innerText()) === 'complete',
  );
  summary.scenes = await tiles.count();
  check((await page.locator('.scene:not([data-state="done"])').count()) === 0, 'a film that is complete has scenes that are not done');
  check((await page.locator('.scene-plot .column').count()) === summary.scenes, 'the plot has not a column for each scene');
  await visit.audit('Scenes with a project');
  await visit.shot('scenes-done');

  // A scene plays.
  await tiles.last().click();
  await visit.until('the preview', () => (document.querySelector('video.preview')?.currentTime ?? 0) > 0.2);
  summary.preview = await page.evaluate(() => {
    const video = document.querySelector('video.preview');
    return `${video.videoWidth}x${video.videoHeight}`;
  });
  await visit.shot('scene');
  await visit.audit('a scene');

  // It is encoded again with other parameters, and is another then.
  const before = await tiles.last().innerText();
  await dialog.getByLabel('Parameters of this scene').fill('-preset 12 -crf 20');
  await dialog.getByRole('button', { name: 'Encode it again' }).click();
  await visit.eventually('the scene being another', async () => {
    const now = await tiles.last().innerText();
    return now !== before && (await tiles.last().getAttribute('data-state')) === 'done';
  });
  await visit.eventually('the whole film again', async () => (await page.locator('#project-title ~ .pill').innerText()) === 'complete');

  const file = await page.evaluate(async () => {
    const link = Array.from(document.querySelectorAll('a[download]')).find((a) => a.textContent === 'Download');
    const answer = await fetch(link.href);
    return { status: answer.status, bytes: (await answer.arrayBuffer()).byteLength };
  });
  check(file.status === 200 && file.bytes > 1000, `the film is answered ${file.status} with ${file.bytes} bytes`);
  await page.getByRole('button', { name: 'Delete', exact: true }).click();
  await dialog.getByRole('button', { name: 'Delete the project' }).click();
  await page.getByText(/ was deleted\.$/).waitFor();
});
