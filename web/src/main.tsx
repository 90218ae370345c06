import { render } from 'preact';
import { App } from './components/App';
import './style/base.css';
import './style/shell.css';
import './style/watch.css';
import './style/pages.css';

const root = document.getElementById('app');
if (root !== null) render(<App />, root);

// The player's library is fetched while the user still looks for a film.
void import('hls.js').catch(() => undefined);
