/** The old bytes of a patch, for the process that applies it: read forward once, and back only within bounds. */

import { PatchError } from "./error.ts";
import { PIECE } from "./layout.ts";

/** Old bytes. */
export interface Base {
  readonly size: number;
  /** Fills `into` from `offset` on. @throws PatchError for bytes that are not there */
  read(offset: number, into: Buffer): void;
}

/** Reads the next bytes of a stream into a part of a buffer; 0 is the end. */
export type ReadNext = (into: Buffer, from: number, to: number) => number;

/** Old bytes that come as a stream, of which the last stay in memory: `reach` and a little more. */
export class WindowBase implements Base {
  readonly size: number;
  readonly #next: ReadNext;
  readonly #ring: Buffer;
  #end = 0;

  constructor(next: ReadNext, size: number, reach: number) {
    this.#next = next;
    this.size = size;
    this.#ring = Buffer.allocUnsafeSlow(reach + 2 * PIECE);
  }

  read(offset: number, into: Buffer): void {
    if (offset < 0 || offset + into.length > this.size) throw outside(offset, into.length, this.size);
    for (let done = 0; done < into.length; ) {
      const part = Math.min(PIECE, into.length - done);
      this.#readPart(offset + done, into.subarray(done, done + part));
      done += part;
    }
  }

  #readPart(offset: number, into: Buffer): void {
    const { length } = this.#ring;
    while (this.#end < offset + into.length) {
      const from = this.#end % length;
      const count = this.#next(this.#ring, from, Math.min(length, from + offset + into.length - this.#end));
      if (count === 0) throw new PatchError(`the old layers end after ${this.#end} of ${this.size} bytes`);
      this.#end += count;
    }
    if (offset < this.#end - length) throw new PatchError("the patch goes further back than it says");
    for (let done = 0; done < into.length; ) {
      const from = (offset + done) % length;
      const count = Math.min(into.length - done, length - from);
      this.#ring.copy(into, done, from, from + count);
      done += count;
    }
  }
}

/** The error about a place that is not among the old bytes. */
export function outside(offset: number, length: number, size: number): PatchError {
  return new PatchError(`the patch refers to bytes ${offset} to ${offset + length} of old layers with ${size}`);
}
