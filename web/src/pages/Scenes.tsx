import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { sameOrigin } from '../address';
import type { Project, ProjectOrder } from '../client';
import { Dialog } from '../components/Dialog';
import { Progress } from '../components/Progress';
import { ScenePlot } from '../components/ScenePlot';
import { PlusIcon } from '../components/icons';
import { fileSize, percent, sourceName } from '../format';
import { webmOf } from '../ivf';
import { hashOf } from '../route';
import { type SceneTile, projectTone, shareOf, tilesOf } from '../scenes';
import { asSentence } from '../sentence';
import { reasonOf, useAnswer, useOptional, useShared } from '../shared';

/** Films that are encoded scene by scene, by many. */
export function Scenes({ chosen }: { readonly chosen: string | null }) {
  const { gateway } = useShared();
  const projects = useOptional((signal) => gateway.projects(signal), 2000);
  const info = useAnswer((signal) => gateway.sceneInfo(signal), []);
  const [adding, setAdding] = useState(false);
  const list = projects.value?.list ?? null;
  const shown = list?.find((project) => String(project.projectid) === chosen) ?? list?.[0] ?? null;
  return (
    <div class="page">
      <header class="page-head">
        <h1 tabIndex={-1}>Scenes</h1>
        {list !== null && (
          <button type="button" class="button" onClick={() => setAdding(true)}>
            <PlusIcon />
            New project
          </button>
        )}
      </header>
      {projects.error !== null && (
        <p class="note note-bad" role="alert">
          {asSentence(projects.error)}
        </p>
      )}
      {projects.value !== null && list === null && <div class="empty">This gateway does not split films into scenes.</div>}
      {list !== null && list.length === 0 && (
        <div class="empty">
          <p>No film is split into scenes yet.</p>
          <p class="hint">A project cuts a film where its pictures change, and lets every machine that joins encode scenes of it at the same time.</p>
        </div>
      )}
      {list !== null && list.length > 0 && (
        <ul class="projects" aria-label="Projects">
          {list.map((project) => (
            <li key={project.projectid}>
              <a
                class="project"
                href={hashOf('scenes', String(project.projectid))}
                aria-current={project === shown ? 'true' : undefined}
              >
                <strong>{sourceName(project.input)}</strong>
                <span class="job-facts">
                  {project.status} · {project.frames} of {project.total_frames} frames
                  {project.size !== undefined && project.size > 0 ? ` · ${fileSize(project.size)}` : ''}
                </span>
                <Progress percent={shareOf(project) * 100} label={`Progress of ${sourceName(project.input)}`} />
              </a>
            </li>
          ))}
        </ul>
      )}
      {shown !== null && <ProjectView key={shown.projectid} project={shown} password={info.value?.password === true} onChanged={projects.again} />}
      {adding && (
        <AddProject
          encoders={Object.keys(info.value?.encoders ?? { aom: null, vpx: null })}
          actions={info.value?.actions ?? []}
          password={info.value?.password === true}
          onClose={() => setAdding(false)}
          onAdded={() => {
            setAdding(false);
            projects.again();
          }}
        />
      )}
    </div>
  );
}

/** One project: its scenes as tiles, their rates as a plot. */
function ProjectView({ project, password, onChanged }: { project: Project; password: boolean; onChanged: () => void }) {
  const { gateway, say, base } = useShared();
  // The list may come without the scenes.
  const whole = useAnswer((signal) => gateway.project(project.projectid, signal), [project.projectid, project.frames, project.status], 2000);
  const current = project.scenes !== undefined ? project : (whole.value ?? project);
  const tiles = useMemo(() => tilesOf(current), [current]);
  const [preview, setPreview] = useState<SceneTile | null>(null);
  const [secret, setSecret] = useState('');
  const [deleting, setDeleting] = useState(false);
  const name = sourceName(current.input);
  const count = (state: SceneTile['state']): number => tiles.filter((tile) => tile.state === state).length;
  const act = async (what: Promise<void>, words: string): Promise<void> => {
    try {
      await what;
      say(words);
      onChanged();
    } catch (error) {
      say(asSentence(reasonOf(error)), true);
    }
  };
  return (
    <section class="panel" aria-labelledby="project-title">
      <div class="section-head">
        <h2 id="project-title">{name}</h2>
        <span class="pill" data-state={projectTone(current.status)}>
          {current.status}
        </span>
        <span class="stretch" />
        {current.status === 'complete' && (
          <a class="button" href={sameOrigin(current.completed_url ?? `completed/${encodeURIComponent(current.projectid)}`, base)} download>
            Download
          </a>
        )}
        {current.paused !== undefined && projectTone(current.status) !== 'done' && projectTone(current.status) !== 'failed' && (
          <button
            type="button"
            class="button"
            onClick={() =>
              current.paused === true
                ? void act(gateway.pauseProject(current.projectid, false, secret), `${name} goes on.`)
                : void act(gateway.pauseProject(current.projectid, true, secret), `${name} is paused: no further scene is given out.`)
            }
          >
            {current.paused ? 'Go on' : 'Pause'}
          </button>
        )}
        <button type="button" class="button button-bad" onClick={() => setDeleting(true)}>
          Delete
        </button>
      </div>
      {current.reason != null && current.reason !== '' && <p class="note note-bad">{asSentence(current.reason)}</p>}
      {password && <Password word={secret} onWord={setSecret} />}
      <dl class="tiles">
        <div class="tile">
          <dt>Frames</dt>
          <dd>{percent(shareOf(current))}</dd>
        </div>
        <div class="tile">
          <dt>Scenes</dt>
          <dd>{`${count('done')} of ${tiles.length}`}</dd>
        </div>
        <div class="tile">
          <dt>At work</dt>
          <dd>{count('running')}</dd>
        </div>
        <div class="tile">
          <dt>Size</dt>
          <dd>{fileSize(tiles.reduce((sum, tile) => sum + tile.bytes, 0))}</dd>
        </div>
        <div class="tile">
          <dt>Encoder</dt>
          <dd>{current.encoder ?? ''}</dd>
        </div>
      </dl>
      {current.encoder_params !== undefined && current.encoder_params !== '' && <p class="hint params">{current.encoder_params}</p>}
      <ScenePlot tiles={tiles} />
      <ul class="scenes" aria-label="Scenes">
        {tiles.map((tile) => (
          <li key={tile.id}>
            <button
              type="button"
              class="scene"
              data-state={tile.state}
              title={tile.bad ?? undefined}
              disabled={tile.state !== 'done' && tile.state !== 'bad'}
              onClick={() =>
                tile.state === 'done' ? setPreview(tile) : void act(gateway.retryScene(project.projectid, tile.id, secret), `Scene ${tile.id} is encoded once more.`)
              }
            >
              <strong>{tile.id}</strong>
              <span>{tile.frames} fr</span>
              <span>{tile.bytes > 0 ? fileSize(tile.bytes) : tile.percent !== null ? `${Math.floor(tile.percent)} %` : SCENE_WORDS[tile.state]}</span>
            </button>
          </li>
        ))}
      </ul>
      {preview !== null && (
        <Preview
          project={project.projectid}
          tile={preview}
          params={current.scenes?.[preview.id]?.encoder_params || (current.encoder_params ?? '')}
          onClose={() => setPreview(null)}
          onAgain={(params) => {
            setPreview(null);
            void act(gateway.retryScene(project.projectid, preview.id, secret, params), `Scene ${preview.id} is encoded once more.`);
          }}
        />
      )}
      {deleting && (
        <DeleteProject
          name={name}
          onClose={() => setDeleting(false)}
          onDelete={() => {
            setDeleting(false);
            void act(gateway.deleteProject(project.projectid, secret), `${name} was deleted.`);
          }}
        />
      )}
    </section>
  );
}

const SCENE_WORDS: Readonly<Record<SceneTile['state'], string>> = {
  done: 'done',
  running: 'at work',
  waiting: 'waiting',
  bad: 'try again',
};

/** The name of the encode of a scene: the gateway's, or grav1's. */
function fileOf(tile: SceneTile): string {
  return /\/([^/?#]+)(?:[?#]|$)/.exec(tile.url?.replace(/^.*\/scene\/[^/]+/, '') ?? '')?.[1] ?? `${tile.id}.ivf`;
}

interface PreviewProps {
  readonly project: string;
  readonly tile: SceneTile;
  /** With which it was encoded. */
  readonly params: string;
  readonly onClose: () => void;
  /** It is to be encoded anew, with these parameters. */
  readonly onAgain: (params: string) => void;
}

/** Plays one scene as it was encoded, and has it encoded anew. */
function Preview({ project, tile, params: before, onClose, onAgain }: PreviewProps) {
  const { gateway } = useShared();
  const [params, setParams] = useState(before);
  const video = useRef<HTMLVideoElement>(null);
  const [error, setError] = useState<string | null>(null);
  useEffect(() => {
    const ended = new AbortController();
    let address: string | null = null;
    void (async () => {
      const bytes = new Uint8Array(await (await gateway.scene(project, fileOf(tile), ended.signal)).arrayBuffer());
      const webm = webmOf(bytes) ?? bytes;
      if (ended.signal.aborted || video.current === null) return;
      address = URL.createObjectURL(new Blob([webm as BlobPart]));
      video.current.src = address;
      await video.current.play();
    })().catch((reason: unknown) => {
      if (!ended.signal.aborted) setError(asSentence(reasonOf(reason)));
    });
    return () => {
      ended.abort();
      if (address !== null) URL.revokeObjectURL(address);
    };
  }, []);
  return (
    <Dialog title={`Scene ${tile.id}`} class="dialog-wide" onClose={onClose}>
      <video ref={video} class="preview" controls loop muted playsInline aria-label={`Scene ${tile.id}`} />
      {error !== null && <p class="note note-bad">{error}</p>}
      <p class="hint">
        {tile.frames} frames from frame {tile.begins} on · {fileSize(tile.bytes)}
        {tile.kbps === null ? '' : ` · ${Math.round(tile.kbps)} kbit/s`}
        {tile.quality === null ? '' : ` · quality ${tile.quality.toFixed(1)}`}
      </p>
      <form
        class="again"
        onSubmit={(event) => {
          event.preventDefault();
          onAgain(params.trim());
        }}
      >
        <div class="field">
          <label for="scene-params">Parameters of this scene</label>
          <input id="scene-params" type="text" spellcheck={false} value={params} onInput={(event) => setParams(event.currentTarget.value)} />
        </div>
        <button type="submit" class="button">
          Encode it again
        </button>
      </form>
    </Dialog>
  );
}

function DeleteProject({ name, onClose, onDelete }: { name: string; onClose: () => void; onDelete: () => void }) {
  return (
    <Dialog title={`Delete ${name}?`} class="dialog-small" onClose={onClose}>
      <p>Its scenes, what was encoded of them, and the joined film are deleted. The source stays.</p>
      <div class="actions">
        <button type="button" class="button button-bad" onClick={onDelete}>
          Delete the project
        </button>
      </div>
    </Dialog>
  );
}

function Password({ word, onWord }: { word: string; onWord: (word: string) => void }) {
  return (
    <div class="field">
      <label for="scene-password">Password for scenes (grav1.password)</label>
      <input id="scene-password" type="password" autoComplete="off" value={word} onInput={(event) => onWord(event.currentTarget.value)} />
    </div>
  );
}

/** Those that only the gateway's own engines have. */
const OWN_ENCODERS = ['svt-av1', 'rav1e', 'x265', 'x264'];

/** Good first parameters for each encoder. */
const PARAMS: Readonly<Record<string, string>> = {
  aom: '--cpu-used=6 --end-usage=q --cq-level=30 --bit-depth=8',
  aomenc: '--cpu-used=6 --end-usage=q --cq-level=30 --bit-depth=8',
  vpx: '--codec=vp9 --cpu-used=4 --end-usage=q --cq-level=32',
  vpxenc: '--codec=vp9 --cpu-used=4 --end-usage=q --cq-level=32',
  'svt-av1': '-preset 8 -crf 32',
  rav1e: '-speed 8 -qp 90',
  x265: '-preset medium -crf 24',
  x264: '-preset medium -crf 21',
};

interface AddProps {
  readonly encoders: readonly string[];
  readonly actions: readonly string[];
  readonly password: boolean;
  readonly onClose: () => void;
  readonly onAdded: () => void;
}

function AddProject({ encoders, actions, password, onClose, onAdded }: AddProps) {
  const { gateway } = useShared();
  const names = [...new Set([...encoders.map((name) => name.replace(/enc$/, '')), ...OWN_ENCODERS])];
  const first = names[0] ?? 'aom';
  const [input, setInput] = useState('');
  const [encoder, setEncoder] = useState(first);
  const [params, setParams] = useState(PARAMS[first] ?? '');
  const [least, setLeast] = useState('24');
  const [most, setMost] = useState('250');
  const [then, setThen] = useState('');
  const [word, setWord] = useState('');
  const [error, setError] = useState<string | null>(null);
  const submit = async (): Promise<void> => {
    const order: ProjectOrder = {
      input: input.split('\n').map((line) => line.trim()).filter((line) => line !== ''),
      encoder,
      encoder_params: params.trim(),
      ffmpeg_params: '',
      min_frames: Number(least) || -1,
      max_frames: Number(most) || -1,
      priority: 0,
      on_complete: then,
      ...(word === '' ? {} : { password: word }),
    };
    try {
      await gateway.addProject(order);
      onAdded();
    } catch (reason) {
      setError(asSentence(reasonOf(reason)));
    }
  };
  return (
    <Dialog title="New project" onClose={onClose}>
      <form
        class="stack"
        onSubmit={(event) => {
          event.preventDefault();
          void submit();
        }}
      >
        <div class="field">
          <label for="project-input">Films of this gateway, one a line</label>
          <textarea id="project-input" required rows={2} value={input} onInput={(event) => setInput(event.currentTarget.value)} />
        </div>
        <div class="field-row">
          <div class="field">
            <label for="project-encoder">Encoder</label>
            <select
              id="project-encoder"
              value={encoder}
              onChange={(event) => {
                setEncoder(event.currentTarget.value);
                setParams(PARAMS[event.currentTarget.value] ?? '');
              }}
            >
              {names.map((name) => (
                <option key={name} value={name}>
                  {name}
                </option>
              ))}
            </select>
          </div>
          <div class="field">
            <label for="project-least">Shortest scene, frames</label>
            <input id="project-least" type="number" min="-1" value={least} onInput={(event) => setLeast(event.currentTarget.value)} />
          </div>
          <div class="field">
            <label for="project-most">Longest scene, frames</label>
            <input id="project-most" type="number" min="-1" value={most} onInput={(event) => setMost(event.currentTarget.value)} />
          </div>
        </div>
        <div class="field">
          <label for="project-params">Parameters of the encoder</label>
          <input id="project-params" type="text" spellcheck={false} value={params} onInput={(event) => setParams(event.currentTarget.value)} />
        </div>
        {actions.length > 0 && (
          <div class="field">
            <label for="project-then">When all scenes are there</label>
            <select id="project-then" value={then} onChange={(event) => setThen(event.currentTarget.value)}>
              <option value="">Join the pictures</option>
              {actions.map((action) => (
                <option key={action} value={action}>
                  {action === 'merge' ? 'Join, and add the sound of the source' : action}
                </option>
              ))}
            </select>
          </div>
        )}
        {password && <Password word={word} onWord={setWord} />}
        {error !== null && (
          <p class="note note-bad" role="alert">
            {error}
          </p>
        )}
        <div class="actions">
          <button type="submit" class="button button-primary">
            Start
          </button>
        </div>
      </form>
    </Dialog>
  );
}
