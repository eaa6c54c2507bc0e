/** Bounds on what a layer may ask for, so that a hostile one costs a clear error and not the machine. */

/** The bounds; a layer at or within each of them is applied. */
export interface Limits {
  /** Bytes of the uncompressed layer. */
  readonly bytes: number;
  /** Uncompressed bytes for each compressed one, looked at from {@link ratioFrom} uncompressed bytes on. */
  readonly ratio: number;
  readonly ratioFrom: number;
  /** Entries of the archive. */
  readonly entries: number;
  /** Bytes of one file, a sparse one with its holes. */
  readonly fileBytes: number;
  /** Bytes of one path, and directories in it. */
  readonly pathBytes: number;
  readonly depth: number;
  /** Bytes of all names that must be remembered until the end of the layer. */
  readonly nameBytes: number;
}

/** Far beyond any image that is known, and within what a machine survives. */
export const defaultLimits: Limits = {
  bytes: 256 * 2 ** 30,
  ratio: 1100,
  ratioFrom: 2 ** 30,
  entries: 10_000_000,
  fileBytes: 2 ** 40,
  pathBytes: 4095,
  depth: 512,
  nameBytes: 512 << 20,
};

/** A layer that asks for more than it may have; the text says what and how much is allowed. */
export class LimitError extends Error {
  override readonly name = "LimitError";
}

/** @throws LimitError when `value` is above the limit */
export function checkLimit(value: number, limit: number, what: string): void {
  if (value > limit) throw new LimitError(`layer with ${what}, the limit is ${limit}`);
}
