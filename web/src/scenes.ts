/** A project of scenes as it is drawn. Pure. */
import type { Project, Scene } from './client';

export type SceneState = 'done' | 'running' | 'waiting' | 'bad';

export interface SceneTile {
  readonly id: string;
  readonly state: SceneState;
  readonly frames: number;
  readonly bytes: number;
  readonly bad: string | null;
  /** First frame in the film. */
  readonly begins: number;
  /** Mean rate; null until it is done, or when the frame rate is not known. */
  readonly kbps: number | null;
  /** A score of the pictures, where the gateway has measured one. */
  readonly quality: number | null;
}

/** Names under which a measure of the pictures may come, and the best it can be. */
const MEASURES = ['vmaf', 'quality', 'ssim', 'score'];

function qualityOf(scene: Scene): number | null {
  const fields = scene as unknown as Record<string, unknown>;
  for (const name of MEASURES) {
    const value = fields[name];
    if (typeof value === 'number' && Number.isFinite(value)) return value;
  }
  return null;
}

/** Pictures a second of the film; `fps` of the protocol is the encoders' speed. */
function rateOf(project: Project): number | null {
  const fields = project as unknown as Record<string, unknown>;
  for (const name of ['frame_rate', 'input_fps', 'source_fps']) {
    const value = fields[name];
    if (typeof value === 'number' && value > 0) return value;
  }
  return null;
}

/** The scenes in the order of the film. */
export function tilesOf(project: Project): SceneTile[] {
  const running = new Set(project.workers ?? []);
  const rate = rateOf(project);
  let begins = 0;
  return Object.entries(project.scenes ?? {})
    .sort(([a], [b]) => a.localeCompare(b, undefined, { numeric: true }))
    .map(([id, scene]) => {
      const bad = scene.bad ?? null;
      const state: SceneState = bad !== null ? 'bad' : scene.filesize > 0 ? 'done' : running.has(id) ? 'running' : 'waiting';
      const seconds = scene.frames / (rate ?? 24);
      const tile: SceneTile = {
        id,
        state,
        frames: scene.frames,
        bytes: scene.filesize,
        bad,
        begins,
        kbps: scene.filesize > 0 && seconds > 0 ? (scene.filesize * 8) / seconds / 1000 : null,
        quality: qualityOf(scene),
      };
      begins += scene.frames;
      return tile;
    });
}

/** The share of the film's frames that is encoded, 0..1. */
export function shareOf(project: Project): number {
  if (project.status.startsWith('complete')) return 1;
  return project.total_frames > 0 ? Math.min(1, project.frames / project.total_frames) : 0;
}

/** How a project stands, by its words. */
export function projectTone(status: string): 'done' | 'failed' | 'leased' | 'waiting' {
  if (status.startsWith('complete')) return 'done';
  if (status.startsWith('failed') || status.includes('mismatch')) return 'failed';
  return status.startsWith('paused') ? 'waiting' : 'leased';
}
