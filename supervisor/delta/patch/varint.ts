/** Whole numbers in as many bytes as they need, seven bits each, the lowest first. */

import { PatchError } from "./error.ts";

/** Collects numbers. */
export class NumberWriter {
  #bytes = Buffer.allocUnsafe(4096);
  #end = 0;

  /** Bytes so far. */
  get length(): number {
    return this.#end;
  }

  /** Adds a number from 0 to 2^53 - 1. */
  put(value: number): void {
    if (this.#end + 8 > this.#bytes.length) this.#bytes = Buffer.concat([this.#bytes, this.#bytes]);
    let rest = value;
    while (rest >= 128) {
      this.#bytes[this.#end++] = (rest % 128) | 128;
      rest = Math.floor(rest / 128);
    }
    this.#bytes[this.#end++] = rest;
  }

  /** Adds a number that may be negative; its amount is below 2^52. */
  putSigned(value: number): void {
    this.put(value < 0 ? -value * 2 - 1 : value * 2);
  }

  /** What was collected; begins anew. */
  take(): Buffer {
    const taken = Buffer.from(this.#bytes.subarray(0, this.#end));
    this.#end = 0;
    return taken;
  }
}

/** Reads numbers. */
export class NumberReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** True when all bytes were read. */
  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  /** The next number. @throws PatchError when there is none, or it is too large */
  next(): number {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) throw new PatchError("the patch has an operation that is cut off");
      value += (byte & 127) * factor;
      if (value > Number.MAX_SAFE_INTEGER) throw new PatchError("the patch has a number that is too large");
      if (byte < 128) return value;
    }
  }

  /** The next number of {@link NumberWriter.putSigned}. */
  nextSigned(): number {
    const value = this.next();
    return value % 2 === 1 ? -(value + 1) / 2 : value / 2;
  }
}
