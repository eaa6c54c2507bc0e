/** Bytes that can be read anywhere, with the parts that were read last kept in memory. */

import type { RandomBytes } from "./chunker.ts";

const BLOCK = 1 << 20;
const MAX_BLOCKS = 16;

/** Reads in blocks, of which the last used stay. */
export class Cached implements RandomBytes {
  readonly #bytes: RandomBytes;
  /** By number; the longest unused first. */
  readonly #blocks = new Map<number, Buffer>();

  constructor(bytes: RandomBytes) {
    this.#bytes = bytes;
  }

  get size(): number {
    return this.#bytes.size;
  }

  read(offset: number, into: Uint8Array): void {
    for (let done = 0; done < into.length; ) {
      const part = this.view(offset + done, into.length - done);
      into.set(part, done);
      done += part.length;
    }
  }

  /** Bytes from `offset` on, at least one and at most `length`. They must not be changed, nor kept for long. */
  view(offset: number, length: number): Buffer {
    const number = Math.floor(offset / BLOCK);
    const block = this.#block(number);
    const from = offset - number * BLOCK;
    return block.subarray(from, Math.min(block.length, from + length));
  }

  #block(number: number): Buffer {
    const known = this.#blocks.get(number);
    if (known !== undefined) {
      this.#blocks.delete(number);
      this.#blocks.set(number, known);
      return known;
    }
    const [oldest] = this.#blocks.keys();
    const isFull = this.#blocks.size >= MAX_BLOCKS && oldest !== undefined;
    const size = Math.min(BLOCK, this.#bytes.size - number * BLOCK);
    const spare = isFull ? this.#blocks.get(oldest) : undefined;
    if (isFull) this.#blocks.delete(oldest);
    const block = spare?.length === size ? spare : Buffer.allocUnsafeSlow(size);
    this.#bytes.read(number * BLOCK, block);
    this.#blocks.set(number, block);
    return block;
  }
}

/** How many bytes are equal from `a` and `b` on, up to `most`. */
export function equalAfter(left: Cached, a: number, right: Cached, b: number, most: number): number {
  for (let count = 0; count < most; ) {
    const one = left.view(a + count, most - count);
    const other = right.view(b + count, one.length);
    const length = Math.min(one.length, other.length);
    const [x, y] = [one.subarray(0, length), other.subarray(0, length)];
    if (!x.equals(y)) {
      let at = 0;
      while (x[at] === y[at]) at++;
      return count + at;
    }
    count += length;
  }
  return most;
}

/** How many bytes are equal in front of `a` and `b`, up to `most`. */
export function equalBefore(left: Cached, a: number, right: Cached, b: number, most: number): number {
  let count = 0;
  while (count < most) {
    const length = Math.min(most - count, 4096);
    const one = Buffer.allocUnsafe(length);
    const other = Buffer.allocUnsafe(length);
    left.read(a - count - length, one);
    right.read(b - count - length, other);
    let at = length;
    while (at > 0 && one[at - 1] === other[at - 1]) at--;
    count += length - at;
    if (at > 0) return count;
  }
  return count;
}
