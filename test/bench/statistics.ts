/** The few statistics that the bench prints. No sample is ever dropped: spread is shown, not trimmed away. */

/** What one runtime's samples of one figure come to. */
export interface Summary {
  readonly count: number;
  readonly median: number;
  readonly p10: number;
  readonly p90: number;
  readonly min: number;
  readonly max: number;
}

/**
 * The value below which the share `q` (0 to 1) of the samples lies, linear between neighbours.
 *
 * @throws RangeError when there are no samples
 */
export function quantile(samples: readonly number[], q: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const position = (sorted.length - 1) * q;
  const low = sorted[Math.floor(position)];
  const high = sorted[Math.ceil(position)];
  if (low === undefined || high === undefined) {
    throw new RangeError("a quantile of no samples");
  }
  return low + (high - low) * (position - Math.floor(position));
}

/** The middle of the samples. Throws RangeError when there are none. */
export function median(samples: readonly number[]): number {
  return quantile(samples, 0.5);
}

/** Median and spread of the samples. Throws RangeError when there are none. */
export function summarize(samples: readonly number[]): Summary {
  return {
    count: samples.length,
    median: median(samples),
    p10: quantile(samples, 0.1),
    p90: quantile(samples, 0.9),
    min: quantile(samples, 0),
    max: quantile(samples, 1),
  };
}
