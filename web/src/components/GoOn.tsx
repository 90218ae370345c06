import { useState } from 'preact/hooks';
import { clock, sourceName } from '../format';
import { type Begun, begunFilms, forgetFilm, resumeAt } from '../remembered';
import { Picture } from './Picture';
import { CloseIcon, FilmIcon } from './icons';

/** Films that are offered at one time. */
const MOST = 6;

/** Films that were begun in this browser and not seen to their end. */
export function GoOn({ onPlay }: { readonly onPlay: (film: Begun) => void }) {
  const [, draw] = useState(0);
  const films = begunFilms().filter((film) => resumeAt(film) !== null).slice(0, MOST);
  if (films.length === 0) return null;
  return (
    <section class="library" aria-labelledby="go-on-title">
      <h2 id="go-on-title">Go on watching</h2>
      <ul class="cards">
        {films.map((film) => (
          <li key={film.source} class="card">
            <button type="button" class="card-main" onClick={() => onPlay(film)}>
              <span class="card-picture">
                <FilmIcon />
                <Picture source={film.source} width={320} at={film.at} />
                <Seen film={film} />
              </span>
              <span class="card-name" title={film.source}>
                {sourceName(film.source)}
              </span>
              <span class="card-note">
                {clock(film.at)} of {clock(film.duration)}
              </span>
            </button>
            <button
              type="button"
              class="control card-more"
              title="Forget it"
              onClick={() => {
                forgetFilm(film.source);
                draw((n) => n + 1);
              }}
            >
              <CloseIcon />
              <span class="sr">Forget {sourceName(film.source)}</span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

/** How far a film was seen, if it was begun, at the foot of its picture. */
export function Seen({ film }: { readonly film: Begun | undefined }) {
  if (film === undefined || film.duration <= 0) return null;
  return (
    <span class="seen" aria-hidden="true">
      <span style={{ width: `${Math.min(100, (100 * film.at) / film.duration)}%` }} />
    </span>
  );
}
