// Plays a film from a gateway with a key, in a real browser: the page asks for the key once, keeps it
// for the tab, and the player fetches without it.
//
//   node e2e/key.mjs BASE_URL SOURCE KEY
//
// Needs the gateway at BASE_URL and Chromium ($CHROMIUM, else /usr/bin/chromium). Exits with 1 and
// says why on failure.

import { check, run } from './browser.mjs';

const [base, source, key] = process.argv.slice(2);
if (key === undefined) {
  console.error('usage: node e2e/key.mjs BASE_URL SOURCE KEY');
  process.exit(2);
}

run(base, undefined, async (visit) => {
  const { page } = visit;
  const media = [];
  page.on('response', (response) => {
    if (new URL(response.url()).pathname.startsWith('/stream/')) media.push(response);
  });

  // A wrong key is asked for again, the right one opens the folders.
  await page.goto(base);
  const dialog = page.getByRole('dialog');
  const field = dialog.getByLabel('API key of this gateway');
  await field.fill('wrong');
  await field.press('Enter');
  await dialog.getByRole('alert').waitFor();
  await field.fill(key);
  await field.press('Enter');
  await page.locator('.library .card-main').first().waitFor();
  check((await dialog.count()) === 0, 'the key is asked for once more');

  // The tab knows the key after a reload; the film plays without it.
  await page.goto(`${base}/?source=${encodeURIComponent(source)}`);
  await page.locator('form.source').getByRole('button', { name: 'Play', exact: true }).click();
  await visit.until('the film', () => (document.querySelector('video')?.currentTime ?? 0) > 2);
  check((await dialog.count()) === 0, 'the key is asked for after a reload');
  check(media.length > 2, `only ${media.length} files were fetched`);
  for (const response of media) {
    check(response.ok(), `${response.url()} was answered ${response.status()}`);
    check(response.request().headers()['x-api-key'] === undefined, 'the player sends the key');
  }
  check(!page.url().includes(key), 'the key is in the address');

  // The settings say that there is a key, and not which.
  await visit.visit('Settings');
  const setting = page.locator('.setting', { hasText: 'security.api_key' });
  await setting.getByText('set, and hidden').waitFor();
  check(!(await page.content()).includes(key), 'the page shows the key');
});
