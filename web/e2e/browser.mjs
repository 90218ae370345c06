// What the end-to-end tests share: a browser that reports what a page complains of, and waiting.

import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

/** Generous, for machines that encode slower than real time. */
export const PATIENCE_MS = Number(process.env.PATIENCE_MS ?? 60_000);

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

export class Failure extends Error {}

export const check = (condition, message) => {
  if (!condition) throw new Failure(message);
};

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** A browser with one page, at `base`. */
export class Visit {
  static async begin(base, shots) {
    if (shots !== undefined) mkdirSync(shots, { recursive: true });
    const profile = mkdtempSync(join(tmpdir(), 'ghoststream-e2e-'));
    const context = await chromium.launchPersistentContext(profile, {
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
      args: FLAGS,
      viewport: { width: 1280, height: 900 },
      colorScheme: 'dark',
    });
    return new Visit(base, shots, profile, context);
  }

  constructor(base, shots, profile, context) {
    Object.assign(this, { base, shots, profile, context, complaints: [] });
    this.page = context.pages()[0];
    this.page.setDefaultTimeout(PATIENCE_MS);
    const origin = new URL(base).origin;
    this.page.on('console', (message) => {
      // A refused request is an answer that tests ask for; everything else is a fault of the page.
      if (message.type() === 'error' && !/Failed to load resource/.test(message.text())) this.complaints.push(message.text());
    });
    this.page.on('pageerror', (error) => this.complaints.push(String(error)));
    this.page.on('request', (request) => {
      const url = request.url();
      if (/^https?:/.test(url) && new URL(url).origin !== origin) this.complaints.push(`the page asked another host: ${url}`);
    });
  }

  async end() {
    await this.context.close();
    rmSync(this.profile, { recursive: true, force: true });
  }

  url(path) {
    return new URL(path, this.base).href;
  }

  async shot(name) {
    if (this.shots !== undefined) await this.page.screenshot({ path: join(this.shots, `${name}.png`) });
  }

  /** The page at `#/name`, reached by its link. */
  async visit(name) {
    await this.page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name }).click();
    await this.page.getByRole('heading', { level: 1, name }).waitFor({ state: 'attached' });
  }

  said() {
    return this.page.locator('#status').innerText({ timeout: 1000 }).catch(() => '(no sentence)');
  }

  position() {
    return this.page.evaluate(() => document.querySelector('video')?.currentTime ?? -1);
  }

  /** Waits in the page; a failure tells what the page said meanwhile. Gives the milliseconds it took. */
  async until(what, predicate, argument, patience = PATIENCE_MS) {
    const begun = performance.now();
    try {
      await this.page.waitForFunction(predicate, argument, { timeout: patience, polling: 20 });
    } catch {
      await this.shot('failure');
      const [said, position] = [await this.said(), await this.position()];
      throw new Failure(`${what}: not within ${patience} ms; the page says "${said}", the film is at ${position}`);
    }
    return Math.round(performance.now() - begun);
  }

  /** Waits until pictures are presented at `from` or later and time goes on for a second. */
  async untilPlaying(what, from, to = Infinity) {
    const ms = await this.until(
      what,
      ([low, high]) => {
        const video = document.querySelector('video');
        return video !== null && video.readyState >= 2 && !video.seeking && video.currentTime > low && video.currentTime < (high ?? Infinity);
      },
      [from, to === Infinity ? null : to],
    );
    const at = await this.position();
    await this.until(`${what}: the film goes on`, (then) => (document.querySelector('video')?.currentTime ?? 0) > then + 1, at);
    return ms;
  }

  /** Waits here, for what is asked of the gateway. */
  async eventually(what, ask, patience = PATIENCE_MS) {
    const deadline = Date.now() + patience;
    let last;
    do {
      last = await ask();
      if (last) return last;
      await new Promise((resolve) => setTimeout(resolve, 100));
    } while (Date.now() < deadline);
    await this.shot('failure');
    throw new Failure(`${what}: not within ${patience} ms`);
  }

  /** What axe finds serious or critical in the page as it is. */
  async audit(name) {
    // Moving parts have colours in between while they move.
    await this.page.waitForTimeout(400);
    if (!(await this.page.evaluate(() => 'axe' in window))) await this.page.evaluate(AXE);
    const found = await this.page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
    const serious = found.violations.filter((violation) => ['serious', 'critical'].includes(violation.impact));
    const words = serious.map((violation) => {
      const where = violation.nodes.slice(0, 3).map((node) => `${node.target.join(' ')} (${node.any[0]?.message ?? node.failureSummary})`);
      return `${violation.id}: ${where.join('; ')}`;
    });
    check(words.length === 0, `axe on ${name}: ${words.join(' | ')}`);
    return found.violations.map((violation) => violation.id);
  }
}

/** Runs `main` with a visit, prints one line of JSON, and ends the process. */
export async function run(base, shots, main) {
  const summary = { ok: false, base };
  const visit = await Visit.begin(base, shots);
  try {
    await main(visit, summary);
    check(visit.complaints.length === 0, `the browser complains: ${visit.complaints.join(' | ')}`);
    summary.ok = true;
  } catch (error) {
    summary.failure = error instanceof Failure ? error.message : String(error?.stack ?? error);
    if (visit.complaints.length > 0) summary.complaints = visit.complaints;
    await visit.shot('failure').catch(() => undefined);
    console.error(`FAILED: ${summary.failure}`);
  } finally {
    await visit.end();
  }
  console.log(JSON.stringify(summary));
  process.exit(summary.ok ? 0 : 1);
}
