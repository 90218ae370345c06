import { useEffect, useState } from 'preact/hooks';
import type { Accelerator, Engine, Health, Runner, SceneWorker } from '../client';
import { CopyCommand } from '../components/CopyCommand';
import { Plot } from '../components/Plot';
import { ways } from '../connect';
import { ago, fileSize, span } from '../format';
import { asSentence } from '../sentence';
import { reasonOf, useAnswer, useOptional, useShared } from '../shared';

/** Between two looks at the load, and how many are kept: five minutes. */
const EVERY_MS = 2000;
const MOST = 150;

/** Kept while the page is open, whatever part of it is shown. */
let load: readonly Load[] = [];

/** The load of a machine that tells it. */
type Load = Health & { readonly checks: NonNullable<Health['checks']> };
const tellsLoad = (health: Health): health is Load => health.checks !== undefined;

const ACCELERATORS: Readonly<Record<string, string>> = {
  nvenc: 'NVIDIA NVENC',
  qsv: 'Intel Quick Sync',
  vaapi: 'VA-API',
  amf: 'AMD AMF',
  videotoolbox: 'Apple VideoToolbox',
  software: 'Software',
};

/** This machine, and those that work for it. */
export function Machines() {
  const { gateway } = useShared();
  const capabilities = useAnswer((signal) => gateway.capabilities(signal), []);
  const health = useAnswer((signal) => gateway.health(signal), [], EVERY_MS);
  const stats = useAnswer((signal) => gateway.stats(signal), [], EVERY_MS);
  const [, draw] = useState(0);
  useEffect(() => {
    if (health.value === null || !tellsLoad(health.value)) return;
    load = [...load.slice(-(MOST - 1)), health.value];
    draw((n) => n + 1);
  }, [health.value]);
  const last = load[load.length - 1] ?? null;
  const machine = capabilities.value;
  const trouble = capabilities.error ?? health.error;
  return (
    <div class="page">
      <header class="page-head">
        <h1 tabIndex={-1}>Machines</h1>
        {last !== null && (
          <span class="pill" data-state={last.status === 'healthy' ? 'done' : last.status === 'degraded' ? 'leased' : 'failed'}>
            {conditionOf(last)}
          </span>
        )}
      </header>
      {trouble !== null && last === null && (
        <p class="note note-bad" role="alert">
          {asSentence(trouble)}
        </p>
      )}
      <section aria-labelledby="gateway-title">
        <h2 id="gateway-title">This gateway</h2>
        {last !== null && (
          <div class="plots">
            <Plot
              label="Processor"
              value={`${Math.round(last.checks.cpu.usage_percent)} %`}
              values={load.map((h) => h.checks.cpu.usage_percent)}
              most={MOST}
              note="the last five minutes"
            />
            <Plot
              label="Memory"
              value={`${Math.round(last.checks.memory.usage_percent)} %`}
              values={load.map((h) => h.checks.memory.usage_percent)}
              most={MOST}
              note={`${fileSize(last.checks.memory.available_mb * 1_048_576)} free`}
            />
            <Plot
              label="Disk of the segments"
              value={`${Math.round(last.checks.disk.usage_percent)} %`}
              values={load.map((h) => h.checks.disk.usage_percent)}
              most={MOST}
              note={`${last.checks.disk.free_gb} GiB free`}
            />
          </div>
        )}
        {stats.value !== null && (
          <dl class="tiles">
            <Tile name="Encoders at work" value={String(stats.value.active_encoders)} />
            <Tile name="Streams" value={`${stats.value.active_jobs}${last === null ? '' : ` / ${last.checks.active_jobs.max_concurrent}`}`} />
            <Tile name="Segments kept" value={fileSize(stats.value.cache_bytes)} />
            <Tile name="Written" value={fileSize(stats.value.total_bytes_processed)} />
            <Tile name="Jobs done" value={`${stats.value.successful_jobs} of ${stats.value.total_jobs_processed}`} />
            <Tile name="Up for" value={span(stats.value.uptime_seconds)} />
          </dl>
        )}
      </section>

      <section aria-labelledby="encoders-title">
        <h2 id="encoders-title">What encodes</h2>
        {machine !== null && (
          <p class="hint">
            {machine.platform} · ffmpeg {machine.ffmpeg_version} · every encoder of the hardware was tried with ten pictures.
          </p>
        )}
        <ul class="accelerators">
          {[...(machine?.hw_accels ?? [])]
            .sort((a, b) => Number(b.available) - Number(a.available))
            .map((accelerator) => (
              <AcceleratorCard key={accelerator.type} accelerator={accelerator} />
            ))}
        </ul>
      </section>

      <Workers />
      <Connect />
    </div>
  );
}

/** How the machine is, and why, in a few words. */
export function conditionOf({ status, checks }: Load): string {
  const troubles = [
    checks.cpu.status !== 'healthy' ? 'the processor is busy' : null,
    checks.memory.status !== 'healthy' ? 'memory is short' : null,
    checks.disk.status !== 'healthy' ? 'the disk is nearly full' : null,
    checks.job_queue.status !== 'healthy' ? 'many jobs wait' : null,
  ].filter((trouble) => trouble !== null);
  if (status === 'healthy' || troubles.length === 0) return status;
  return `${status}: ${troubles.join(', ')}`;
}

function Tile({ name, value }: { readonly name: string; readonly value: string }) {
  return (
    <div class="tile">
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

function AcceleratorCard({ accelerator }: { readonly accelerator: Accelerator }) {
  const { gpu_info: gpu } = accelerator;
  const memory = gpu?.memory_mb == null ? null : fileSize(gpu.memory_mb * 1_048_576);
  const device = [gpu?.name, memory, gpu?.driver_version == null ? null : `driver ${gpu.driver_version}`, accelerator.device_path];
  const told = device.filter((part) => part != null && part !== '');
  return (
    <li class="accelerator" data-available={accelerator.available}>
      <div class="accelerator-head">
        <strong>{ACCELERATORS[accelerator.type] ?? accelerator.type}</strong>
        <span class="pill" data-state={accelerator.available ? 'done' : 'waiting'}>
          {accelerator.available ? 'works' : 'not here'}
        </span>
      </div>
      {told.length > 0 && <p class="hint">{told.join(' · ')}</p>}
      {accelerator.reason !== undefined && <p class="hint">{asSentence(accelerator.reason)}</p>}
      {accelerator.encoders.length > 0 && (
        <ul class="chips" aria-label="Encoders">
          {accelerator.encoders.map((encoder) => (
            <li key={encoder}>{encoder}</li>
          ))}
        </ul>
      )}
    </li>
  );
}

/** Engines, runners and workers of all protocols. */
function Workers() {
  const { gateway, say } = useShared();
  const engines = useAnswer((signal) => gateway.engines(signal), [], 5000);
  const runners = useOptional((signal) => gateway.runners(signal), 5000);
  const sceneWorkers = useAnswer((signal) => gateway.sceneWorkers(signal), [], 5000);
  const act = async (what: Promise<void>, words: string): Promise<void> => {
    try {
      await what;
      engines.again();
      say(words);
    } catch (error) {
      say(asSentence(reasonOf(error)), true);
    }
  };
  const none = [engines.value, runners.value?.list, sceneWorkers.value].every((list) => (list ?? []).length === 0);
  return (
    <section aria-labelledby="workers-title">
      <h2 id="workers-title">Who works for it</h2>
      {none && <div class="empty">Only this machine itself. Others join with one command, below.</div>}
      <ul class="workers">
        {(engines.value ?? []).map((engine) => (
          <EngineCard
            key={engine.id}
            engine={engine}
            onDrain={(draining) =>
              void act(gateway.drainEngine(engine.id, draining), draining ? `${engine.id} gets no more work.` : `${engine.id} gets work again.`)
            }
            onRemove={() => void act(gateway.removeEngine(engine.id), `${engine.id} was removed.`)}
          />
        ))}
        {(runners.value?.list ?? []).map((runner) => (
          <RunnerCard key={runner.id} runner={runner} />
        ))}
        {(sceneWorkers.value ?? []).map((worker) => (
          <SceneWorkerCard key={worker.ip} worker={worker} />
        ))}
      </ul>
    </section>
  );
}

function EngineCard({ engine, onDrain, onRemove }: { engine: Engine; onDrain: (draining: boolean) => void; onRemove: () => void }) {
  const draining = engine.abilities.draining === true;
  const words = [
    engine.busy ? 'at work' : engine.alive ? 'free' : 'silent',
    draining ? 'gets no more work' : null,
    `heard from ${ago(engine.last_contact_seconds * 1000)}`,
    (engine.abilities.kinds ?? []).join(', '),
  ];
  return (
    <li class="worker" data-alive={engine.alive}>
      <div class="worker-text">
        <strong>{engine.id}</strong>
        <span class="job-facts">{words.filter((word) => word !== null && word !== '').join(' · ')}</span>
      </div>
      <button type="button" class="button" onClick={() => onDrain(!draining)}>
        {draining ? 'Give it work again' : 'Let it finish'}
        <span class="sr">: {engine.id}</span>
      </button>
      {!engine.alive && (
        <button type="button" class="button" onClick={onRemove}>
          Remove<span class="sr"> {engine.id}</span>
        </button>
      )}
    </li>
  );
}

/** A runner asks every minute, or whenever there is something new. */
const RUNNER_SILENT_MS = 3 * 60_000;

function RunnerCard({ runner }: { readonly runner: Runner }) {
  const silent = Date.now() - Date.parse(runner.lastContact);
  return (
    <li class="worker" data-alive={silent < RUNNER_SILENT_MS}>
      <div class="worker-text">
        <strong>{runner.name}</strong>
        <span class="job-facts">
          {['PeerTube runner', runner.version, runner.ip, `heard from ${ago(silent)}`, runner.description].filter((word) => word != null && word !== '').join(' · ')}
        </span>
      </div>
    </li>
  );
}

/** grav1's workers ask again every few seconds while they have nothing. */
const SCENE_WORKER_SILENT_S = 120;

function SceneWorkerCard({ worker }: { readonly worker: SceneWorker }) {
  const { scenes, last_contact_seconds: silent } = worker;
  const work = scenes.length === 0 ? 'waits for scenes' : `${scenes.length} ${scenes.length === 1 ? 'scene' : 'scenes'} at work`;
  return (
    <li class="worker" data-alive={silent < SCENE_WORKER_SILENT_S || scenes.length > 0}>
      <div class="worker-text">
        <strong>{worker.ip}</strong>
        <span class="job-facts">{['grav1 worker', work, `asked ${ago(silent * 1000)}`].join(' · ')}</span>
      </div>
    </li>
  );
}

/** How others join. */
function Connect() {
  const { base, gateway, keyed, say } = useShared();
  const [token, setToken] = useState<string | null>(null);
  const all = ways(base, keyed > 0, token);
  const [chosen, setChosen] = useState('engine');
  const way = all.find((one) => one.id === chosen) ?? all[0];
  if (way === undefined) return null;
  return (
    <section aria-labelledby="connect-title" class="panel">
      <h2 id="connect-title">Connect another</h2>
      <div class="tabs" role="group" aria-label="What to connect">
        {all.map((one) => (
          <button key={one.id} type="button" class="tab" aria-pressed={one.id === way.id} onClick={() => setChosen(one.id)}>
            {one.name}
          </button>
        ))}
      </div>
      <p>{way.text}</p>
      {way.id === 'peertube' && token === null && (
        <div class="actions">
          <button
            type="button"
            class="button"
            onClick={() => void gateway.runnerToken().then(setToken, (error: unknown) => say(asSentence(reasonOf(error)), true))}
          >
            Make a token
          </button>
        </div>
      )}
      <CopyCommand command={way.command} label={`Command for a ${way.name}`} />
    </section>
  );
}
