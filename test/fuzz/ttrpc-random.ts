/** A seeded source of randomness, so that a failing input can be made again. */

/** Random numbers from a 32-bit seed (the generator known as mulberry32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A whole number from 0 to 2^32 - 1. */
  u32(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  }

  /** A whole number from 0 to `limit` - 1. */
  below(limit: number): number {
    return Math.floor((this.u32() / 0x1_0000_0000) * limit);
  }

  /** True once in `n` times. */
  oneIn(n: number): boolean {
    return this.below(n) === 0;
  }

  pick<T>(values: readonly [T, ...T[]]): T {
    return values[this.below(values.length)] ?? values[0];
  }

  bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (let i = 0; i < length; i++) bytes[i] = this.u32();
    return bytes;
  }

  /** The bytes with one to four of them changed, added or removed, or with their end cut off. */
  mutate(bytes: Uint8Array): Uint8Array {
    const result = [...bytes];
    for (let i = this.below(4); i >= 0; i--) {
      const at = this.below(result.length + 1);
      switch (this.below(4)) {
        case 0:
          result.splice(at, 1, this.below(256));
          break;
        case 1:
          result.splice(at, 0, this.below(256));
          break;
        case 2:
          result.splice(at, 1);
          break;
        default:
          if (this.oneIn(4)) result.length = Math.min(result.length, at);
          else result[at] = (result[at] ?? 0) ^ (1 << this.below(8));
      }
    }
    return Uint8Array.from(result);
  }

  /** The bytes in chunks of the sizes that sockets give: tiny, odd, or all at once; not too many of them. */
  *split(bytes: Uint8Array): Generator<Uint8Array> {
    const largest = Math.max(this.pick([3, 100, 5000, 100_000]), Math.floor(bytes.length / 200));
    for (let at = 0; at < bytes.length; ) {
      const size = 1 + this.below(largest);
      yield bytes.subarray(at, at + size);
      at += size;
    }
  }
}

/** The seed of this run: BERTH_FUZZ_SEED, or a new one. It is printed, so that the run can be repeated. */
export function chooseSeed(name: string): number {
  const given = process.env["BERTH_FUZZ_SEED"];
  const seed = given === undefined ? Math.floor(Math.random() * 2 ** 32) : Number(given);
  if (!Number.isInteger(seed)) throw new Error(`BERTH_FUZZ_SEED=${given} is no whole number`);
  console.log(`${name}: BERTH_FUZZ_SEED=${seed}`);
  return seed;
}

/** The number of inputs of a full run: BERTH_FUZZ_INPUTS, or a million. */
export function fullInputs(): number {
  const inputs = Number(process.env["BERTH_FUZZ_INPUTS"] ?? 1_000_000);
  if (!Number.isInteger(inputs) || inputs < 1000) throw new Error("BERTH_FUZZ_INPUTS must be a number of 1000 or more");
  return inputs;
}
