/** Work that is under way for an id, such as cleaning up after its last shim: whoever needs the id waits for it. */

/** The holds of one daemon. */
export class Holds {
  readonly #work = new Map<string, Promise<unknown>>();

  /** Keeps others from using an id until `work`, which never rejects, is done. */
  hold(key: string, work: Promise<unknown>): void {
    const before = this.#work.get(key);
    const all = before === undefined ? work : Promise.all([before, work]);
    this.#work.set(key, all);
    void all.finally(() => {
      if (this.#work.get(key) === all) this.#work.delete(key);
    });
  }

  has(key: string): boolean {
    return this.#work.has(key);
  }

  /** Resolves when nothing holds an id, neither what does now nor what comes while it is waited for. */
  async free(key: string): Promise<void> {
    for (let work = this.#work.get(key); work !== undefined; work = this.#work.get(key)) await work;
  }

  /** Resolves when all that is under way at this moment is done. */
  async settled(): Promise<void> {
    await Promise.all(this.#work.values());
  }
}
