// Plays an HLS playlist in a real browser, with hls.js, to its end.
//
//   node e2e/master.mjs MASTER_URL
//
// Needs Chromium ($CHROMIUM, else /usr/bin/chromium). Prints one line of JSON; exits with 1 and says why
// on failure.

import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const [url] = process.argv.slice(2);
if (url === undefined) {
  console.error('usage: node e2e/master.mjs MASTER_URL');
  process.exit(2);
}
const hls = createRequire(import.meta.url).resolve('hls.js/dist/hls.min.js');
const profile = mkdtempSync(join(tmpdir(), 'ghoststream-e2e-'));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--autoplay-policy=no-user-gesture-required'],
});
let summary = { ok: false, error: 'it did not begin' };
try {
  const page = context.pages()[0] ?? (await context.newPage());
  await page.setContent('<video muted></video>');
  await page.addScriptTag({ path: hls });
  summary = await page.evaluate(
    (master) =>
      new Promise((resolve) => {
        const video = document.querySelector('video');
        const player = new window.Hls();
        const tell = (ok, error) =>
          resolve({
            ok,
            error,
            levels: player.levels.length,
            width: video.videoWidth,
            height: video.videoHeight,
            duration: video.duration,
            at: video.currentTime,
            dropped: video.getVideoPlaybackQuality().droppedVideoFrames,
            shown: video.getVideoPlaybackQuality().totalVideoFrames,
          });
        player.on(window.Hls.Events.ERROR, (_, data) => {
          if (data.fatal) tell(false, `${data.type} ${data.details}`);
        });
        video.addEventListener('ended', () => tell(video.videoWidth > 0));
        setTimeout(() => tell(false, 'it does not end'), 60_000);
        player.loadSource(master);
        player.attachMedia(video);
        void video.play();
      }),
    url,
  );
} finally {
  await context.close();
  rmSync(profile, { recursive: true, force: true });
}
console.log(JSON.stringify(summary));
process.exit(summary.ok ? 0 : 1);
