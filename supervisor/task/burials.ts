/**
 * Cleaning up after shims that are gone, until it succeeds.
 *
 * Invariant: at most one attempt is under way for an id. What removes a bundle late could remove that of a new task.
 */

import { messageOf, unknown } from "../../proto/errdefs.ts";
import { type BurialOptions, bury, type Remains } from "./burial.ts";
import type { Exit } from "./exit.ts";
import type { Holds } from "./holds.ts";
import { fieldsOf } from "./open.ts";

/** Pauses before further attempts, in milliseconds; after the last one the id must be wanted for another. */
const pauses = [1_000, 10_000, 60_000];

/** What could not be cleaned up. */
interface Left {
  readonly remains: Remains;
  readonly timer: ReturnType<typeof setTimeout> | undefined;
}

/** The burials of one daemon. */
export class Burials {
  readonly #options: BurialOptions;
  readonly #holds: Holds;
  readonly #left = new Map<string, Left>();
  #isStopped = false;

  constructor(options: BurialOptions, holds: Holds) {
    this.#options = options;
    this.#holds = holds;
  }

  /**
   * Cleans up after a shim; what cannot be cleaned up now is tried again later. The caller holds the id.
   * @returns how the container ended, where that is told
   * @throws ContainerdError Unknown when something is left
   */
  async bury(remains: Remains, attempt = 0): Promise<Exit | undefined> {
    const key = keyOf(remains.bundle);
    try {
      const exit = await bury(remains, this.#options);
      this.#forget(key);
      remains.stopLog?.();
      return exit;
    } catch (error) {
      this.#options.log.error(`failed to delete dead shim: ${messageOf(error)}`, fieldsOf(remains.bundle));
      this.#keep(key, remains, attempt);
      throw unknown(messageOf(error), error);
    }
  }

  /** True when something could not be cleaned up. */
  has(key: string): boolean {
    return this.#left.has(key);
  }

  /** Cleans up what is left of an id that is wanted again. @throws ContainerdError Unknown when it cannot be */
  async finish(key: string): Promise<void> {
    const left = this.#left.get(key);
    if (left === undefined) return;
    const work = this.bury(left.remains);
    this.#holds.hold(
      key,
      work.catch(() => undefined),
    );
    await work;
  }

  /** No further attempts are begun. */
  stop(): void {
    this.#isStopped = true;
    for (const { timer } of this.#left.values()) clearTimeout(timer);
  }

  #keep(key: string, remains: Remains, attempt: number): void {
    this.#forget(key);
    const pause = pauses[attempt];
    const isLast = pause === undefined || this.#isStopped;
    const timer = isLast ? undefined : setTimeout(() => this.#again(key, remains, attempt + 1), pause);
    timer?.unref();
    this.#left.set(key, { remains, timer });
  }

  #again(key: string, remains: Remains, attempt: number): void {
    // Whoever has the id cleans up too, and comes back here when that fails.
    if (this.#holds.has(key)) return;
    this.#holds.hold(
      key,
      this.bury(remains, attempt).catch(() => undefined),
    );
  }

  #forget(key: string): void {
    clearTimeout(this.#left.get(key)?.timer);
    this.#left.delete(key);
  }
}

/** Names a task in tables. */
export function keyOf({ namespace, id }: { readonly namespace: string; readonly id: string }): string {
  return `${namespace}/${id}`;
}
