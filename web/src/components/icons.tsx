/** The page's own drawings; all are decoration beside a text. */

export function Ghost({ class: name }: { readonly class: string }) {
  return (
    <svg class={name} viewBox="0 0 32 32" aria-hidden="true">
      <path d="M16 3C9.400 3 5 7.900 5 14v13.200c0 1.600 1.800 2.400 3 1.400l1.700-1.500a1.900 1.900 0 0 1 2.500 0l2.500 2.200a1.900 1.900 0 0 0 2.600 0l2.500-2.200a1.900 1.900 0 0 1 2.500 0l1.700 1.500c1.200 1 3 .2 3-1.400V14C27 7.900 22.600 3 16 3zm-3 7.700c0-.8.900-1.300 1.600-.8l6.400 4.300c.6.400.6 1.200 0 1.600l-6.400 4.300c-.7.5-1.600 0-1.600-.8z" />
    </svg>
  );
}

const stroke = (d: string) =>
  function Icon() {
    return (
      <svg class="icon" viewBox="0 0 20 20" aria-hidden="true">
        <path d={d} />
      </svg>
    );
  };

export const FolderIcon = stroke('M2.500 15.500v-11h5l2 2.500h8v8.500z');
export const FilmIcon = stroke('M3 4h14v12H3zM7 4v12M13 4v12M3 8h4M3 12h4M13 8h4M13 12h4');
export const CloseIcon = stroke('M5 5l10 10M15 5L5 15');
export const UpIcon = stroke('M10 16V4M5 9l5-5 5 5');
