/** Locks of refs: one writer at a time. */

import { unavailable } from "../../proto/errdefs.ts";
import type { IngestWriter } from "./writer.ts";

interface Held {
  /** Milliseconds since 1970. */
  readonly since: number;
  writer: IngestWriter | undefined;
}

/** The refs that have a writer. */
export class RefLocks {
  readonly #held = new Map<string, Held>();
  readonly #waiting: (() => void)[] = [];

  /**
   * Takes a ref. @returns what gives it back
   * @throws ContainerdError Unavailable while another writer has it: clients try again
   */
  take(namespace: string, ref: string): () => void {
    const key = keyOf(namespace, ref);
    const held = this.#held.get(key);
    if (held !== undefined) {
      const seconds = (Date.now() - held.since) / 1000;
      throw unavailable(`ref ${key} locked for ${seconds}s (since ${sinceText(held.since)}): unavailable`);
    }
    const mine: Held = { since: Date.now(), writer: undefined };
    this.#held.set(key, mine);
    return () => {
      if (this.#held.get(key) === mine) this.#held.delete(key);
      if (this.#held.size === 0) for (const wake of this.#waiting.splice(0)) wake();
    };
  }

  /** Resolves when no ref has a writer, but at the latest after `ms` milliseconds. @returns whether none has */
  async allFree(ms: number): Promise<boolean> {
    if (this.#held.size === 0) return true;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push(resolve);
    const timer = setTimeout(resolve, ms);
    await promise;
    clearTimeout(timer);
    return this.#held.size === 0;
  }

  /** Tells which writer has a ref. */
  attach(namespace: string, ref: string, writer: IngestWriter): void {
    const held = this.#held.get(keyOf(namespace, ref));
    if (held) held.writer = writer;
  }

  /** True while any ref has a writer. */
  get areHeld(): boolean {
    return this.#held.size > 0;
  }

  /** True while a ref has a writer. */
  isHeld(namespace: string, ref: string): boolean {
    return this.#held.has(keyOf(namespace, ref));
  }

  /** The writer of a ref. */
  writer(namespace: string, ref: string): IngestWriter | undefined {
    return this.#held.get(keyOf(namespace, ref))?.writer;
  }
}

/** A ref as containerd's messages name it. */
function keyOf(namespace: string, ref: string): string {
  return `${namespace}/1/${ref}`;
}

/** A time as Go prints it. */
function sinceText(ms: number): string {
  const text = new Date(ms).toISOString();
  return `${text.slice(0, 10)} ${text.slice(11, -1)} +0000 UTC`;
}
