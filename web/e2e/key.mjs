// Plays a film from a gateway with a key, in a real browser: the page asks for the key, for a film
// and for folders, and the player fetches without it.
//
//   node e2e/key.mjs BASE_URL SOURCE KEY
//
// Needs the gateway at BASE_URL and Chromium ($CHROMIUM, else /usr/bin/chromium). Exits with 1 and
// says why on failure.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const [base, source, key] = process.argv.slice(2);
if (key === undefined) {
  console.error('usage: node e2e/key.mjs BASE_URL SOURCE KEY');
  process.exit(2);
}
/** Generous, for machines that encode slower than real time. */
const PATIENCE_MS = Number(process.env.PATIENCE_MS ?? 60_000);

const check = (condition, message) => {
  if (!condition) throw new Error(message);
};

const profile = mkdtempSync(join(tmpdir(), 'ghoststream-e2e-'));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--autoplay-policy=no-user-gesture-required'],
});

async function main() {
  const page = context.pages()[0] ?? (await context.newPage());
  page.setDefaultTimeout(PATIENCE_MS);
  const media = [];
  page.on('response', (response) => {
    if (new URL(response.url()).pathname.startsWith('/stream/')) media.push(response);
  });

  // Folders: a wrong key is asked for again, the right one opens them.
  await page.goto(base);
  await page.locator('.browse').click();
  const dialog = page.locator('dialog');
  const inDialog = dialog.getByLabel('API key of this gateway');
  await inDialog.fill('wrong');
  await inDialog.press('Enter');
  await inDialog.fill(key);
  await inDialog.press('Enter');
  await dialog.locator('.entry').first().waitFor();

  // A page that was just loaded knows no key.
  await page.goto(`${base}/?source=${encodeURIComponent(source)}`);
  await page.getByRole('button', { name: 'Play', exact: true }).click();
  const field = page.getByLabel('API key of this gateway');
  await field.fill(key);
  await field.press('Enter');
  await page.waitForFunction(() => (document.querySelector('video')?.currentTime ?? 0) > 2);
  check(media.length > 2, `only ${media.length} files were fetched`);
  for (const response of media) {
    check(response.ok(), `${response.url()} was answered ${response.status()}`);
    check(response.request().headers()['x-api-key'] === undefined, 'the player sends the key');
  }
  check(!page.url().includes(key), 'the key is in the address');
}

let failure = null;
try {
  await main();
} catch (error) {
  failure = String(error?.message ?? error);
  console.error(`FAILED: ${failure}`);
} finally {
  await context.close();
  rmSync(profile, { recursive: true, force: true });
}
console.log(JSON.stringify({ ok: failure === null, base, source, failure }));
process.exit(failure === null ? 0 : 1);
