/** The keys that leave a container and let it run: seen in what is typed, and kept from it. */

/** What became of typed bytes. */
export interface Typed {
  /** For the container. */
  readonly bytes: Uint8Array;
  readonly isDetached: boolean;
}

/** Looks for one sequence of keys. */
export class DetachKeys {
  readonly #keys: readonly number[];
  #matched = 0;

  /** @param keys none: nothing is looked for */
  constructor(keys: readonly number[]) {
    this.#keys = keys;
  }

  /** Takes what was typed. What may be the beginning of the sequence is held back until that is clear. */
  take(input: Uint8Array): Typed {
    const keys = this.#keys;
    if (keys.length === 0) return { bytes: input, isDetached: false };
    const out: number[] = [];
    for (const byte of input) {
      if (byte === keys[this.#matched]) {
        this.#matched++;
        if (this.#matched === keys.length) return { bytes: Uint8Array.from(out), isDetached: true };
        continue;
      }
      out.push(...keys.slice(0, this.#matched));
      this.#matched = 0;
      if (byte === keys[0]) this.#matched = 1;
      else out.push(byte);
    }
    return { bytes: Uint8Array.from(out), isDetached: false };
  }
}
