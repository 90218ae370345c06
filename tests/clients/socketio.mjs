// Listens as a PeerTube runner does, with the library that it uses, and says what it hears.
//
//   node tests/clients/socketio.mjs BASE_URL RUNNER_TOKEN
import { createRequire } from 'node:module';

const require = createRequire(new URL('../../web/package.json', import.meta.url));
const { io } = require('socket.io-client');

const [base, runnerToken] = process.argv.slice(2);
const socket = io(`${base}/runners`, { auth: { runnerToken }, transports: ['websocket'] });
socket.on('connect', () => console.log('connected'));
socket.on('connect_error', (error) => console.log(`refused ${error.message}`));
socket.on('disconnect', (reason) => console.log(`disconnected ${reason}`));
socket.on('available-jobs', (...args) => console.log(`available-jobs ${args.length}`));
