import { useEffect, useRef, useState } from 'preact/hooks';
import { sameOrigin } from '../address';
import type { Video } from '../client';
import { asSentence } from '../sentence';
import { reasonOf, useOptional, useShared } from '../shared';
import { CloseIcon, PlayIcon, UploadIcon } from './icons';
import { Progress } from './Progress';

interface Props {
  readonly onPlay: (video: Video, url: string) => void;
}

/** How far the work on a video is, 0..100; null when nobody says. */
function percentOf(video: Video): number | null {
  const told = video.jobs.flatMap((job) => (job.progress === null ? [] : [job.progress]));
  return told.length === 0 ? null : told.reduce((sum, percent) => sum + percent, 0) / video.jobs.length;
}

const WORDS: Readonly<Record<Video['state'], string>> = {
  pending: 'waits for a runner',
  processing: 'is made ready to play',
  done: 'ready',
  failed: 'failed',
};

/** Files that visitors give to the gateway, where it takes some: dropped anywhere on the page, or chosen. */
export function Uploads({ onPlay }: Props) {
  const { gateway, base, say } = useShared();
  const videos = useOptional((signal) => gateway.videos(signal), 4000);
  const [sending, setSending] = useState<string | null>(null);
  const [over, setOver] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  const list = videos.value?.list ?? null;

  const send = async (files: readonly File[]): Promise<void> => {
    for (const file of files) {
      setSending(file.name);
      try {
        await gateway.upload(file, 'hls', new AbortController().signal);
        say(`${file.name} is here.`);
        videos.again();
      } catch (error) {
        say(asSentence(`${file.name} was not taken: ${reasonOf(error)}`), true);
      }
    }
    setSending(null);
  };
  const sender = useRef(send);
  sender.current = send;
  const takes = list !== null;
  useEffect(() => {
    if (!takes) return undefined;
    const holds = (event: DragEvent): boolean => event.dataTransfer?.types.includes('Files') === true;
    const drag = (event: DragEvent): void => {
      if (!holds(event)) return;
      event.preventDefault();
      setOver(true);
    };
    const leave = (event: DragEvent): void => {
      if (event.relatedTarget === null) setOver(false);
    };
    const drop = (event: DragEvent): void => {
      setOver(false);
      if (!holds(event)) return;
      event.preventDefault();
      void sender.current([...(event.dataTransfer?.files ?? [])]);
    };
    document.addEventListener('dragover', drag);
    document.addEventListener('dragleave', leave);
    document.addEventListener('drop', drop);
    return () => {
      document.removeEventListener('dragover', drag);
      document.removeEventListener('dragleave', leave);
      document.removeEventListener('drop', drop);
    };
  }, [takes]);

  if (list === null) return null;
  return (
    <section class="uploads" aria-labelledby="uploads-title">
      <div class="section-head">
        <h2 id="uploads-title">Your files</h2>
        <button type="button" class="button" disabled={sending !== null} onClick={() => input.current?.click()}>
          <UploadIcon />
          Upload a file
        </button>
        <input
          ref={input}
          type="file"
          class="sr"
          tabIndex={-1}
          aria-label="File to upload"
          accept="video/*,audio/*,.mkv,.ts"
          onChange={(event) => {
            void send([...(event.currentTarget.files ?? [])]);
            event.currentTarget.value = '';
          }}
        />
        <span class="hint">or drop it anywhere here</span>
      </div>
      {sending !== null && (
        <div class="upload">
          <span>Sending {sending}…</span>
          <Progress percent={null} label={`Sending ${sending}`} />
        </div>
      )}
      {list.length > 0 && (
        <ul class="workers">
          {list.map((video) => (
            <li key={video.id} class="stream" data-video={video.state}>
              <div class="stream-text">
                <strong>{video.name}</strong>
                <span class={video.state === 'failed' ? 'stream-error' : 'job-facts'}>{video.error ?? WORDS[video.state]}</span>
              </div>
              <div class="stream-progress">
                {(video.state === 'pending' || video.state === 'processing') && (
                  <Progress percent={video.state === 'pending' ? 0 : percentOf(video)} label={`Progress of ${video.name}`} />
                )}
              </div>
              <div class="job-actions">
                {video.master_url !== null && (
                  <button type="button" class="control" title="Play" onClick={() => onPlay(video, sameOrigin(video.master_url ?? '', base))}>
                    <PlayIcon />
                    <span class="sr">Play {video.name}</span>
                  </button>
                )}
                <button
                  type="button"
                  class="control"
                  title="Delete"
                  onClick={() =>
                    void gateway.removeVideo(video.id).then(
                      () => {
                        say(`${video.name} was deleted.`);
                        videos.again();
                      },
                      (error: unknown) => say(asSentence(reasonOf(error)), true),
                    )
                  }
                >
                  <CloseIcon />
                  <span class="sr">Delete {video.name}</span>
                </button>
              </div>
            </li>
          ))}
        </ul>
      )}
      {over && <div class="drop">Drop it: the gateway takes it</div>}
    </section>
  );
}
