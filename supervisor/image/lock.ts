/** Locks by name, so that one blob is not fetched and one layer not unpacked twice at a time. */

/** Locks of one daemon. */
export class KeyedLock {
  readonly #held = new Map<string, Promise<void>>();

  /** Runs `work` while nobody else has `key`; who waits for it longest comes first. */
  async with<T>(key: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    const before = this.#held.get(key);
    const { promise, resolve } = Promise.withResolvers<void>();
    const mine = before === undefined ? promise : before.then(() => promise);
    this.#held.set(key, mine);
    try {
      await before;
      signal?.throwIfAborted();
      return await work();
    } finally {
      resolve();
      if (this.#held.get(key) === mine) this.#held.delete(key);
    }
  }
}

/** Lets at most `limit` pieces of work run at a time. */
export class Limiter {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(limit: number) {
    this.#free = limit;
  }

  /** Runs `work` as soon as there is room. */
  async with<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      signal?.throwIfAborted();
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free++;
    }
  }
}
