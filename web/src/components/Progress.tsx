/** A bar; `percent` null moves without an end. */
export function Progress({ percent, label, tone = 'live' }: { readonly percent: number | null; readonly label: string; readonly tone?: string }) {
  return (
    <div
      class={percent === null ? 'bar bar-open' : 'bar'}
      data-tone={tone}
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      {...(percent === null ? {} : { 'aria-valuenow': Math.round(percent) })}
    >
      <span style={{ transform: `scaleX(${percent === null ? 0.3 : Math.min(100, Math.max(0, percent)) / 100})` }} />
    </div>
  );
}
