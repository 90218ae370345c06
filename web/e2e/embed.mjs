// Media queries as a foreign web page uses them, in a real browser: pictures as <img>, streams and
// overviews as <video>, a seek by starting anew elsewhere, a storyboard as a track.
//
//   node e2e/embed.mjs BASE_URL SOURCE [SCREENSHOT_DIR]
//
// Needs the gateway at BASE_URL and Chromium ($CHROMIUM, else /usr/bin/chromium). The source should be
// at least 20 s long. Prints one line of JSON; exits with 1 and says why on failure.

import { check, run } from './browser.mjs';

const [base, source, shots] = process.argv.slice(2);
if (source === undefined) {
  console.error('usage: node e2e/embed.mjs BASE_URL SOURCE [SCREENSHOT_DIR]');
  process.exit(2);
}

const query = (endpoint, parameters = {}) => `${base}/${endpoint}?${new URLSearchParams({ url: source, ...parameters })}`;

run(base, shots, async (visit, summary) => {
  const { page } = visit;

  // A page of another origin may show pictures, and read them.
  await page.setContent('<main></main>');
  const seen = await page.evaluate(async (addresses) => {
    const sizes = [];
    for (const address of addresses) {
      const image = document.createElement('img');
      image.crossOrigin = 'anonymous';
      image.src = address;
      document.querySelector('main').append(image);
      await image.decode();
      const canvas = document.createElement('canvas');
      [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
      const pen = canvas.getContext('2d');
      pen.drawImage(image, 0, 0);
      const pixels = pen.getImageData(0, 0, canvas.width, canvas.height).data;
      sizes.push({ width: canvas.width, height: canvas.height, grey: pixels.reduce((sum, value) => sum + value, 0) / pixels.length });
    }
    return sizes;
  }, ['jpg', 'png', 'webp', 'avif'].map((format) => query('thumb', { t: '50%', width: '200', format })));
  summary.pictures = seen;
  for (const picture of seen) {
    check(picture.width === 200 && picture.height > 1, `a picture has ${picture.width}x${picture.height}`);
    check(Math.abs(picture.grey - seen[0].grey) < 4, `pictures differ: ${JSON.stringify(seen)}`);
  }

  // A stream plays while it is made. Whoever wants to be elsewhere starts it anew there.
  const play = (address) =>
    page.evaluate((src) => {
      const video = document.querySelector('video') ?? document.createElement('video');
      video.muted = true;
      document.querySelector('main').replaceChildren(video);
      video.src = src;
      return video.play();
    }, address);
  const begun = performance.now();
  await play(query('webm'));
  summary.first_picture_ms = Math.round(performance.now() - begun);
  await visit.untilPlaying('the stream', 0);
  await visit.shot('stream');
  await play(query('webm', { t: '50%', width: '640', duration: '5' }));
  await visit.untilPlaying('the stream from its middle', 0);
  await visit.until('the end of its five seconds', () => document.querySelector('video').ended);
  const length = await page.evaluate(() => document.querySelector('video').currentTime);
  check(Math.abs(length - 5) < 0.3, `five seconds last ${length} s`);

  // An overview has a length, goes on for it, and can be sought.
  for (const format of ['webm', 'mp4']) {
    await play(query('preview', { format, frames: '10', speed: '10' }));
    await visit.until(`the overview as ${format}`, () => document.querySelector('video').readyState >= 2);
    const facts = await page.evaluate(async () => {
      const video = document.querySelector('video');
      await new Promise((resolve) => {
        video.addEventListener('seeked', resolve, { once: true });
        video.currentTime = video.duration * 0.8;
      });
      return { duration: video.duration, at: video.currentTime };
    });
    // Four seconds of film in a picture, ten times as fast.
    check(Math.abs(facts.duration - 4) < 0.2 && facts.at > 2.5, `${format}: ${JSON.stringify(facts)}`);
  }

  // Every picture of a storyboard lies within its sheet.
  const board = await page.evaluate(async (address) => {
    const video = document.createElement('video');
    video.crossOrigin = 'anonymous';
    const track = document.createElement('track');
    [track.kind, track.src, track.default] = ['metadata', address, true];
    video.append(track);
    document.querySelector('main').replaceChildren(video);
    track.track.mode = 'hidden';
    await new Promise((resolve, reject) => {
      track.addEventListener('load', resolve);
      track.addEventListener('error', () => reject(new Error('the storyboard cannot be read')));
    });
    const sheets = new Map();
    const outside = [];
    for (const cue of track.track.cues) {
      const [sheet, place] = cue.text.split('#xywh=');
      if (!sheets.has(sheet)) {
        const image = new Image();
        image.src = sheet;
        await image.decode();
        sheets.set(sheet, image);
      }
      const [x, y, width, height] = place.split(',').map(Number);
      const image = sheets.get(sheet);
      if (x + width > image.naturalWidth || y + height > image.naturalHeight) outside.push(cue.text);
    }
    const cues = [...track.track.cues];
    return { cues: cues.length, sheets: sheets.size, end: cues.at(-1).endTime, outside };
  }, query('storyboard', { interval: '2', columns: '3', width: '120' }));
  summary.storyboard = board;
  check(board.outside.length === 0, `outside of their sheets: ${board.outside.join(', ')}`);
  check(board.cues > 9 && board.sheets > 1, JSON.stringify(board));
});
