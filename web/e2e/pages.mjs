// Drives every page in a real browser: a file is made, cancelled and tried again, subtitles and sound
// tracks are chosen, machines and settings are read; axe looks at each page in dark and light and on a
// phone.
//
//   node e2e/pages.mjs BASE_URL FOLDER [FILM_WITH_TRACKS] [SCREENSHOT_DIR]
//
// FOLDER is a folder of the gateway's with at least one film; FILM_WITH_TRACKS has several sound tracks
// and subtitles of text. Exits with 1 and says why on failure.

import { check, run } from './browser.mjs';

const [base, folder, tracks, shots] = process.argv.slice(2);
if (folder === undefined) {
  console.error('usage: node e2e/pages.mjs BASE_URL FOLDER [FILM_WITH_TRACKS] [SCREENSHOT_DIR]');
  process.exit(2);
}
/** Bytes of script, compressed, before the player's library. */
const MOST_SCRIPT_BYTES = 150_000;

run(base, shots, async (visit, summary) => {
  const { page, context } = visit;
  const api = async (method, path, data) => {
    const answer = await context.request.fetch(visit.url(path), { method, ...(data === undefined ? {} : { data }) });
    return answer.json();
  };

  // ------------------------------------------------------------ the first load
  await page.goto(visit.url('/'));
  await page.locator('.library').waitFor();
  summary.interactive_ms = await page.evaluate(() => Math.round(performance.getEntriesByType('navigation')[0].domInteractive));
  const scripts = await page.evaluate(() => Array.from(document.querySelectorAll('script[src]'), (script) => script.src));
  const { gzipSync } = await import('node:zlib');
  let bytes = 0;
  for (const script of scripts) bytes += gzipSync(await (await context.request.get(script)).body()).length;
  summary.script_bytes_gzipped = bytes;
  check(bytes > 0 && bytes < MOST_SCRIPT_BYTES, `the first load has ${bytes} bytes of script, compressed`);

  // ------------------------------------------------------------ the library, by keyboard
  await page.locator('.library .card-main').first().focus();
  await page.keyboard.press('ArrowRight');
  const second = await page.evaluate(() => document.activeElement?.className ?? '');
  check(second.includes('card-main'), 'the arrow keys do not walk through the library');
  await page.getByRole('searchbox', { name: 'Show only names with' }).fill(folder);
  await page.getByRole('button', { name: folder, exact: true }).click();
  const first = page.locator('.card .card-main').first();
  await first.waitFor();
  await visit.until('a picture of a film', () => document.querySelector('.picture-shown') !== null);
  await visit.shot('library');
  const film = `${folder}/${(await first.locator('.card-name').innerText()).trim()}`;

  // ------------------------------------------------------------ a file is made
  await page.getByRole('button', { name: 'Make a file of' }).first().click();
  const dialog = page.getByRole('dialog');
  check((await dialog.getByLabel('Of', { exact: true }).inputValue()) === film, 'the file to be made is not of the film that was chosen');
  await visit.audit('the dialog of a new file');
  await dialog.getByLabel('Size', { exact: true }).selectOption('480p');
  await dialog.getByRole('button', { name: 'Put it in the queue' }).click();
  await page.getByRole('heading', { level: 1, name: 'Jobs' }).waitFor();
  const row = page.locator('.job').first();
  await row.waitFor();
  await visit.eventually('the end of the file', async () => (await row.getAttribute('data-state')) === 'done');
  const download = await page.evaluate(async () => {
    const link = document.querySelector('.job a[download]');
    const answer = await fetch(link.href);
    return { status: answer.status, bytes: (await answer.arrayBuffer()).byteLength };
  });
  check(download.status === 200 && download.bytes > 1000, `the file is answered ${download.status} with ${download.bytes} bytes`);
  summary.file_bytes = download.bytes;

  // Progress, cancelled and tried again: of the longest film of the folder, slowly.
  const { entries } = await api('GET', `/api/v2/files?path=${encodeURIComponent(folder)}`);
  const long = entries.filter((entry) => /\.(mp4|mkv|webm)$/.test(entry.name)).sort((a, b) => b.size_bytes - a.size_bytes)[0];
  const { job_id: id } = await api('POST', '/api/transcode/start', {
    source: long.path,
    mode: 'batch',
    output: { format: 'mp4', video_codec: 'h265', two_pass: true },
  });
  const slow = page.locator('.job', { hasText: long.name }).first();
  await slow.waitFor();
  await visit.eventually('progress of the file', async () => {
    const bar = slow.getByRole('progressbar');
    return (await bar.count()) > 0 && Number(await bar.getAttribute('aria-valuenow')) > 0;
  });
  await visit.shot('jobs');
  await slow.getByRole('button', { name: `Cancel ${long.name}` }).click();
  await visit.eventually('the job being cancelled', async () => (await slow.getAttribute('data-state')) === 'cancelled');
  check((await api('GET', `/api/v2/jobs/${id}`)).state === 'cancelled', 'the gateway did not cancel the job');
  await slow.getByRole('button', { name: `Try ${long.name} again` }).click();
  await visit.eventually('the job at work again', async () => (await slow.getAttribute('data-state')) === 'leased');

  // A job that waits behind it comes sooner.
  const waiting = [];
  for (let i = 0; i < 4; i += 1) {
    waiting.push((await api('POST', '/api/transcode/start', { source: long.path, mode: 'batch', output: { format: 'mkv', two_pass: true } })).job_id);
  }
  const last = page.locator('.job[data-state="ready"]').first();
  await last.waitFor();
  await last.getByRole('button', { name: /sooner/ }).click();
  await last.getByText('priority 1').waitFor();
  await last.locator('.job-name').click();
  await dialog.getByLabel('Priority').fill('7');
  await visit.audit('the details of a job');
  await visit.shot('job');
  await dialog.getByRole('button', { name: 'Set', exact: true }).click();
  await visit.eventually('the priority', async () => (await api('GET', '/api/v2/jobs')).jobs.some((job) => job.priority === 7));
  await dialog.getByRole('button', { name: 'Close' }).click();
  await visit.audit('Jobs');
  for (const job of [id, ...waiting]) await context.request.post(visit.url(`/api/v2/jobs/${job}/cancel`));
  await page.getByRole('button', { name: /^Failed/ }).click();
  await visit.eventually('the list of what failed, without what was done', async () =>
    (await page.locator('.job').count()) >= waiting.length && (await page.locator('.job[data-state="done"]').count()) === 0);

  // ------------------------------------------------------------ subtitles and sound tracks
  if (tracks !== undefined && tracks !== '') {
    await visit.visit('Watch');
    await page.getByLabel('Video address or path').fill(tracks);
    await page.locator('form.source').getByRole('button', { name: 'Play', exact: true }).click();
    await visit.untilPlaying('the film with tracks', 0);
    await page.mouse.move(640, 300);
    await page.getByRole('button', { name: 'Subtitles' }).click();
    await page.getByRole('menuitemradio').nth(1).click();
    await visit.until('subtitles', () => Array.from(document.querySelector('video').textTracks).some((track) => track.mode === 'showing' && track.cues?.length > 0));
    await page.mouse.move(640, 320);
    const sounds = page.getByRole('button', { name: 'Sound track' });
    if ((await sounds.count()) > 0) {
      const asked = page.waitForRequest((request) => /audio1/.test(request.url()));
      await sounds.click();
      await page.getByRole('menuitemradio').nth(1).click();
      await asked;
    }
    await visit.audit('Watch with a film');
    await visit.shot('tracks');
    await page.getByRole('button', { name: 'Stop', exact: true }).click();
  }

  // ------------------------------------------------------------ the other pages
  await visit.visit('Machines');
  await page.getByText('Software', { exact: true }).waitFor();
  await visit.until('the load', () => document.querySelectorAll('.plot-line').length >= 2);
  const command = await page.getByLabel('Command for a GhostStream engine').innerText();
  check(command.includes(`--server ${new URL(base).origin}`), `the command to connect an engine is "${command}"`);
  await page.getByRole('button', { name: /^Copy/ }).click();
  await page.getByText(/^Copied/).waitFor();
  await visit.shot('machines');
  await visit.visit('Settings');
  await page.locator('.setting', { hasText: 'server.port' }).getByText('--port').waitFor();
  await page.getByLabel('Only what is not default').check();
  await visit.until('fewer settings', () => !document.querySelector('.settings')?.textContent.includes('server.max_connections'));
  await visit.shot('settings');

  // ------------------------------------------------------------ axe, on each in every dress
  const dresses = [
    ['dark', { width: 1280, height: 900 }],
    ['light', { width: 1280, height: 900 }],
    ['light', { width: 390, height: 844 }],
  ];
  for (const [colorScheme, size] of dresses) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize(size);
    for (const name of ['Watch', 'Jobs', 'Scenes', 'Machines', 'Settings']) {
      await visit.visit(name);
      await page.waitForLoadState();
      await visit.audit(`${name}, ${colorScheme}, ${size.width} wide`);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      const widest = await page.evaluate(() => {
        const right = (element) => element.getBoundingClientRect().right;
        const all = Array.from(document.querySelectorAll('main *')).sort((a, b) => right(b) - right(a));
        return `${all[0]?.tagName}.${all[0]?.className}`;
      });
      check(wide <= 0, `${name} is ${wide} pixels too wide for ${size.width} (${widest})`);
      await visit.shot(`${name.toLowerCase()}-${colorScheme}-${size.width}`);
    }
  }

  // Every page is reached without a mouse.
  await page.setViewportSize({ width: 1280, height: 900 });
  await page.goto(visit.url('/'));
  await page.keyboard.press('Tab');
  check((await page.evaluate(() => document.activeElement?.textContent)) === 'To the content', 'the first key does not offer the content');
  for (let i = 0; i < 3; i += 1) await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { level: 1, name: 'Jobs' }).waitFor();
  const focused = await page.evaluate(() => document.activeElement?.tagName);
  check(focused === 'H1', `after a change of the page the keyboard is on ${focused}`);
});
