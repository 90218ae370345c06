import { addressForOthers, movedTo } from '../address';
import { quoted } from '../connect';
import { useAnswer, useShared } from '../shared';
import { CopyCommand } from './CopyCommand';
import { Dialog } from './Dialog';
import { QrCode } from './QrCode';

interface Props {
  readonly streamUrl: string;
  /** The job that is played; null where there is none. */
  readonly job: string | null;
  readonly onClose: () => void;
}

/** How what plays here is played by a phone, a television or another program. */
export function Elsewhere({ streamUrl, job, onClose }: Props) {
  const { gateway, base } = useShared();
  const settings = useAnswer((signal) => gateway.settings(signal), []);
  const known = settings.value !== null || settings.error !== null;
  const others = addressForOthers(base, settings.value?.url ?? null);
  const stream = movedTo(streamUrl, base, others ?? base);
  const page = others === null || job === null ? null : `${others}?job=${encodeURIComponent(job)}`;
  return (
    <Dialog title="Play it elsewhere" onClose={onClose}>
      {known && (
        <div class="elsewhere">
          {page !== null && (
            <div class="elsewhere-phone">
              <QrCode text={page} label={`Picture code of ${page}`} />
              <p>Point the camera of a phone or tablet at it: this page opens there, with this film.</p>
            </div>
          )}
          {others === null && (
            <p class="note">
              This gateway is open to this machine only. Other devices reach it when server.host lets them in, or server.advertised_url names
              its address.
            </p>
          )}
          {page !== null && (
            <>
              <h3>The page</h3>
              <CopyCommand command={page} label="Address of the page" />
            </>
          )}
          <h3>The stream, for televisions, Kodi, Safari and every player of HLS</h3>
          <CopyCommand command={stream} label="Address of the stream" />
          <h3>VLC or mpv</h3>
          <CopyCommand command={`vlc ${quoted(stream)}`} label="Command for VLC" />
          <p class="hint">Or in VLC: Media, Open Network Stream. The address works as long as the gateway keeps the film.</p>
        </div>
      )}
    </Dialog>
  );
}
