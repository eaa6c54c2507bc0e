/** Locks of things by name, within one event loop. */

/** One holder at a time for each key; others wait in the order in which they came. */
export class KeyedMutex {
  readonly #tails = new Map<string, Promise<unknown>>();

  /** Runs `work` when nobody else holds the key. */
  async run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key) ?? Promise.resolve();
    const mine = before.catch(() => undefined).then(work);
    this.#tails.set(key, mine);
    try {
      return await mine;
    } finally {
      if (this.#tails.get(key) === mine) this.#tails.delete(key);
    }
  }

  /** True while somebody holds the key. */
  isHeld(key: string): boolean {
    return this.#tails.has(key);
  }
}

/**
 * Does a thing that serves all who wait for it at once (a sync of a directory): who asks while it runs waits for the
 * next run, which begins after the request.
 */
export class Coalesced {
  readonly #work: () => Promise<void>;
  #current: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;

  constructor(work: () => Promise<void>) {
    this.#work = work;
  }

  /** Resolves when a run has ended that began after this call. */
  run(): Promise<void> {
    this.#next ??= this.#current
      .catch(() => undefined)
      .then(() => {
        this.#current = this.#next as Promise<void>;
        this.#next = undefined;
        return this.#work();
      });
    return this.#next;
  }
}
