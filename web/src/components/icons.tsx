/** The page's own drawings; all are decoration beside a text. */

export function Ghost({ class: name }: { readonly class: string }) {
  return (
    <svg class={name} viewBox="0 0 32 32" aria-hidden="true">
      <path d="M16 3C9.400 3 5 7.900 5 14v13.200c0 1.600 1.800 2.400 3 1.400l1.700-1.500a1.900 1.900 0 0 1 2.500 0l2.500 2.200a1.900 1.900 0 0 0 2.600 0l2.500-2.200a1.900 1.900 0 0 1 2.500 0l1.700 1.500c1.200 1 3 .2 3-1.400V14C27 7.900 22.600 3 16 3zm-3 7.700c0-.8.900-1.300 1.600-.8l6.400 4.300c.6.400.6 1.200 0 1.600l-6.400 4.300c-.7.5-1.600 0-1.600-.8z" />
    </svg>
  );
}

const stroke = (...paths: string[]) =>
  function Icon() {
    return (
      <svg class="icon" viewBox="0 0 20 20" aria-hidden="true">
        {paths.map((d) => (
          <path key={d} d={d} />
        ))}
      </svg>
    );
  };

const solid = (d: string) =>
  function Icon() {
    return (
      <svg class="icon icon-solid" viewBox="0 0 20 20" aria-hidden="true">
        <path d={d} />
      </svg>
    );
  };

export const FolderIcon = stroke('M2.500 15.500v-11h5l2 2.500h8v8.500z');
export const FilmIcon = stroke('M3 4h14v12H3zM7 4v12M13 4v12M3 8h4M3 12h4M13 8h4M13 12h4');
export const CloseIcon = stroke('M5 5l10 10M15 5L5 15');
export const UpIcon = stroke('M10 16V4M5 9l5-5 5 5');
export const DownIcon = stroke('M10 4v12M5 11l5 5 5-5');
export const UploadIcon = stroke('M10 13V3.500M6 7l4-3.500L14 7M3.500 13v3.500h13V13');
export const DownloadIcon = stroke('M10 3.500V13M6 9.500l4 3.500 4-3.500M3.500 16.500h13');
export const CopyIcon = stroke('M7 7h9.500v9.500H7zM13 7V3.500H3.500V13H7');
export const RetryIcon = stroke('M16 10a6 6 0 1 1-1.800-4.300M16.500 2.500v4h-4');
export const PlusIcon = stroke('M10 4v12M4 10h12');
export const SearchIcon = stroke('M8.500 14a5.500 5.500 0 1 1 0-11 5.500 5.500 0 0 1 0 11zM12.500 12.500L17 17');
export const InfoIcon = stroke('M10 17.500a7.500 7.500 0 1 1 0-15 7.500 7.500 0 0 1 0 15zM10 9v5M10 6.200v.1');
export const EyeIcon = stroke('M2 10s3-5.500 8-5.500S18 10 18 10s-3 5.500-8 5.500S2 10 2 10z', 'M10 12.300a2.300 2.300 0 1 1 0-4.600 2.300 2.300 0 0 1 0 4.600z');

export const WatchIcon = stroke('M2.500 4h15v10h-15zM7 17h6M8.500 6.800v4.400l4-2.200z');
export const JobsIcon = stroke('M3 5h2M3 10h2M3 15h2M8 5h9M8 10h9M8 15h6');
export const ScenesIcon = stroke('M3 3h5.500v5.500H3zM11.500 3H17v5.500h-5.500zM3 11.500h5.500V17H3zM11.500 11.500H17V17h-5.500z');
export const MachinesIcon = stroke('M3 4h14v5H3zM3 11h14v5H3zM6 6.500h.1M6 13.500h.1M9.500 6.500H14M9.500 13.500H14');
export const SettingsIcon = stroke('M3 6h8M15 6h2M3 14h2M9 14h8', 'M13 8a2 2 0 1 1 0-4 2 2 0 0 1 0 4z', 'M7 16a2 2 0 1 1 0-4 2 2 0 0 1 0 4z');

export const PlayIcon = solid('M6 3.800v12.400c0 .7.800 1.100 1.400.7l9-6.200a.85.85 0 0 0 0-1.400l-9-6.200c-.6-.4-1.400 0-1.400.7z');
export const PauseIcon = solid('M5 3.500h3.500v13H5zM11.500 3.500H15v13h-3.500z');
export const StopIcon = solid('M5 5h10v10H5z');
export const VolumeIcon = stroke('M3 7.800v4.400h3L10 16V4L6 7.800zM13 7.500a3.500 3.500 0 0 1 0 5M15.200 5.200a6.700 6.700 0 0 1 0 9.600');
export const MutedIcon = stroke('M3 7.800v4.400h3L10 16V4L6 7.800zM13 8l4 4M17 8l-4 4');
export const SubtitlesIcon = stroke('M2.500 4.500h15v11h-15zM5 9.500h4M11 9.500h4M5 12.500h6M13 12.500h2');
export const AudioIcon = stroke('M8 14.500V5l8-1.500V13', 'M8 14.500a2.200 2.200 0 1 1-4.400 0 2.200 2.200 0 0 1 4.400 0zM16 13a2.200 2.200 0 1 1-4.400 0 2.200 2.200 0 0 1 4.400 0z');
export const PipIcon = stroke('M2.500 4h15v12h-15zM10 10h5v3.500h-5z');
export const FullIcon = stroke('M3.500 7.500v-4h4M12.500 3.500h4v4M16.500 12.500v4h-4M7.500 16.500h-4v-4');
export const KeysIcon = stroke('M2.500 5h15v10h-15zM5 8h.1M8 8h.1M11 8h.1M14 8h.1M6 12h8');
export const DevicesIcon = stroke('M2.500 4h12v3M2.500 4v9h7M2.500 16h7M12 9h5.500v8.500H12zM14.700 15.500h.1');
