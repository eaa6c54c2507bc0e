/** Where chunks of the old bytes are, by what is in them. */

import { cut, maskFor, type RandomBytes } from "./chunker.ts";

/** Shortest chunk that is made on average, for how many there may be. */
const LEAST_CHUNK = 4096;

/** A table of chunks; about 24 bytes of memory for each 4 KiB of the old bytes, and less of very long ones. */
export class ChunkTable {
  /** The mask by which both sides must be cut. */
  readonly mask: number;
  readonly #keys: Uint32Array;
  /** Offsets; -1 where there is none. */
  readonly #offsets: Float64Array;
  readonly #slots: number;

  constructor(old: RandomBytes) {
    this.mask = maskFor(old.size);
    const average = LEAST_CHUNK * 2 ** (Math.clz32(~this.mask) - 12);
    let slots = 1024;
    while (slots < (2 * old.size) / average) slots *= 2;
    this.#slots = slots;
    this.#keys = new Uint32Array(slots);
    this.#offsets = new Float64Array(slots).fill(-1);
    let count = 0;
    cut(old, this.mask, (offset, chunk) => {
      // Full enough: the first of what is left out is found by its neighbours.
      if (count * 4 > slots * 3) return;
      if (this.#put(keyOf(chunk), offset)) count++;
    });
  }

  /** Where a chunk like this one may be: to be compared. Undefined when there is none. */
  find(chunk: Uint8Array): number | undefined {
    const key = keyOf(chunk);
    for (let slot = key & (this.#slots - 1); ; slot = (slot + 1) & (this.#slots - 1)) {
      const offset = this.#offsets[slot] as number;
      if (offset < 0) return undefined;
      if (this.#keys[slot] === key) return offset;
    }
  }

  /** The first chunk of several that are alike stays. */
  #put(key: number, offset: number): boolean {
    for (let slot = key & (this.#slots - 1); ; slot = (slot + 1) & (this.#slots - 1)) {
      if ((this.#offsets[slot] as number) < 0) {
        this.#keys[slot] = key;
        this.#offsets[slot] = offset;
        return true;
      }
      if (this.#keys[slot] === key) return false;
    }
  }
}

function keyOf(chunk: Uint8Array): number {
  return Bun.hash.xxHash32(chunk) >>> 0;
}
