/** Work by name: one at a time for each name, in the order in which it was asked for. */

import { unavailable } from "../../proto/errdefs.ts";

/** Works that wait for one name, at most. */
const MAX_WAITING = 8;

/** The works of all names. */
export class Queue {
  readonly #works = new Map<string, { last: Promise<unknown>; count: number }>();

  /** True while there is work for a name. */
  isBusy(name: string): boolean {
    return this.#works.has(name);
  }

  /** Does some work after what was asked for before. @throws ContainerdError Unavailable when too much waits */
  async run<T>(name: string, work: () => Promise<T>): Promise<T> {
    const entry = this.#works.get(name) ?? { last: Promise.resolve(), count: 0 };
    if (entry.count >= MAX_WAITING)
      throw unavailable(`${entry.count} changes of ${name} wait already: try again later`);
    this.#works.set(name, entry);
    entry.count++;
    const done = entry.last.then(work);
    entry.last = done.catch(() => undefined);
    try {
      return await done;
    } finally {
      if (--entry.count === 0) this.#works.delete(name);
    }
  }

  /** Resolves when there is no work, or the time is over. */
  async idle(ms: number): Promise<void> {
    const all = Promise.all([...this.#works.values()].map(({ last }) => last));
    await Promise.race([all, Bun.sleep(ms)]);
  }
}
