/** Locks by name, so that one blob is not fetched and one layer not unpacked twice at a time; and limits of numbers. */

/** Resolves with `work`, or fails as soon as the signal is aborted. */
function orAborted(work: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (signal === undefined) return work;
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** Locks of one daemon. */
export class KeyedLock {
  readonly #held = new Map<string, Promise<void>>();

  /**
   * Runs `work` while nobody else has `key`; who waits for it longest comes first.
   * @throws the reason of the signal when it is aborted before the work began; what the work throws
   */
  async with<T>(key: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    const before = this.#held.get(key);
    const { promise, resolve } = Promise.withResolvers<void>();
    // Who gives up waiting lets nobody in before those whom it waited for have left.
    const mine = before === undefined ? promise : before.then(() => promise);
    this.#held.set(key, mine);
    void mine.then(() => {
      if (this.#held.get(key) === mine) this.#held.delete(key);
    });
    try {
      if (before !== undefined) await orAborted(before, signal);
      signal?.throwIfAborted();
      return await work();
    } finally {
      resolve();
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

  /**
   * Runs `work` as soon as there is room.
   * @throws the reason of the signal when it is aborted before the work began; what the work throws
   */
  async with<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await this.#turn(signal);
    try {
      signal?.throwIfAborted();
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free++;
    }
  }

  async #turn(signal: AbortSignal | undefined): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push(resolve);
    try {
      await orAborted(promise, signal);
    } catch (error) {
      const index = this.#waiting.indexOf(resolve);
      if (index >= 0) this.#waiting.splice(index, 1);
      // The turn came at the same moment: it is the next one's.
      else (this.#waiting.shift() ?? (() => this.#free++))();
      throw error;
    }
  }
}
