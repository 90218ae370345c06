import { useEffect, useState } from 'preact/hooks';

/** A text as a picture that a phone reads; drawn when its library is there. */
export function QrCode({ text, label }: { readonly text: string; readonly label: string }) {
  const [code, setCode] = useState<{ readonly size: number; readonly path: string } | null>(null);
  useEffect(() => {
    let stale = false;
    void import('uqr').then(({ encode }) => {
      const { size, data } = encode(text, { ecc: 'M', border: 2 });
      const dots = data.flatMap((row, y) => row.flatMap((dark, x) => (dark ? [`M${x} ${y}h1v1h-1z`] : [])));
      if (!stale) setCode({ size, path: dots.join('') });
    }, () => undefined);
    return () => {
      stale = true;
    };
  }, [text]);
  return (
    <svg class="qr" viewBox={`0 0 ${code?.size ?? 1} ${code?.size ?? 1}`} role="img" aria-label={label} shape-rendering="crispEdges">
      <rect class="qr-light" width="100%" height="100%" />
      {code !== null && <path class="qr-dark" d={code.path} />}
    </svg>
  );
}
