interface Props {
  readonly label: string;
  /** The latest value in words. */
  readonly value: string;
  /** 0..100, oldest first. */
  readonly values: readonly number[];
  /** How many fill the plot. */
  readonly most: number;
  readonly note: string;
}

/** Values over time as an area. */
export function Plot({ label, value, values, most, note }: Props) {
  const x = (i: number): number => (100 * (most - values.length + i)) / (most - 1);
  const y = (v: number): number => 40 - (38 * Math.min(100, Math.max(0, v))) / 100;
  const points = values.map((v, i) => `${x(i).toFixed(2)},${y(v).toFixed(2)}`);
  return (
    <figure class="plot">
      <figcaption>
        <span>{label}</span>
        <strong>{value}</strong>
      </figcaption>
      <svg viewBox="0 0 100 40" preserveAspectRatio="none" role="img" aria-label={`${label}: ${value}`}>
        {[25, 50, 75].map((line) => (
          <line key={line} class="plot-grid" x1="0" x2="100" y1={y(line)} y2={y(line)} />
        ))}
        {values.length > 1 && (
          <>
            <polygon class="plot-area" points={`${x(0).toFixed(2)},40 ${points.join(' ')} 100,40`} />
            <polyline class="plot-line" points={points.join(' ')} />
          </>
        )}
      </svg>
      <p class="hint">{note}</p>
    </figure>
  );
}
