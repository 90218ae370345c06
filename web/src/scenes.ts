/** A project of scenes as it is drawn. Pure. */
import type { Project } from './client';

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
  /** 0..100 of one that is at work, where that is told. */
  readonly percent: number | null;
  /** Where its encode lies, when the gateway says so. */
  readonly url: string | null;
}

/** Pictures a second, from `24000/1001` or `25`; null when it is not known. */
export function rateOf(text: string | null | undefined): number | null {
  const [pictures = NaN, seconds = 1] = (text ?? '').split('/').map(Number);
  const rate = pictures / seconds;
  return text != null && text !== '' && Number.isFinite(rate) && rate > 0 ? rate : null;
}

/** The scenes in the order of the film. */
export function tilesOf(project: Project): SceneTile[] {
  const running = new Set(project.workers ?? []);
  const rate = rateOf(project.frame_rate);
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
        quality: scene.quality?.value ?? null,
        percent: state === 'running' ? (scene.progress ?? null) : null,
        url: scene.url ?? null,
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
