import { utimesSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import type { Plugin } from 'vite';

/**
 * Marks the Rust module that embeds `dist` as changed. Cargo tracks the files
 * it embedded, not the folder, so a first build of the page is otherwise not noticed.
 */
function noticeByCargo(): Plugin {
  return {
    name: 'notice-by-cargo',
    apply: 'build',
    closeBundle() {
      const now = new Date();
      try {
        utimesSync(fileURLToPath(new URL('../src/web_ui/bundle.rs', import.meta.url)), now, now);
      } catch {
        // The page is being built without the gateway's source beside it.
      }
    },
  };
}

const gateway = process.env['GHOSTSTREAM_URL'] ?? 'http://127.0.0.1:8765';
/** While the page is worked on, everything but the page is a running gateway's. */
const proxy = Object.fromEntries(
  ['/api', '/stream', '/download', '/thumb', '/storyboard', '/meta', '/video', '/scene', '/completed'].map((path) => [path, gateway]),
);

export default defineConfig({
  // Relative addresses, so that the page also works below a path of a reverse proxy.
  base: './',
  plugins: [noticeByCargo()],
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    target: 'es2022',
    // The Content-Security-Policy of the gateway allows neither data: nor inline scripts.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // hls.js is one chunk of about 600 kB, loaded after the page is drawn.
    chunkSizeWarningLimit: 700,
  },
  server: { proxy },
  preview: { proxy },
  test: { include: ['tests/**/*.test.ts'] },
});
