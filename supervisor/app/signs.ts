/** The signs of containers from a moment on, kept until a judge has looked at them. */

import type { Judge, Sign } from "./judge.ts";

/** Signs that are kept; a container that restarts without end is decided long before. */
const MAX_KEPT = 10_000;

/** Collects signs. */
export class SignLog {
  readonly #kept: { readonly sign: Sign; readonly at: number }[] = [];
  #wake: (() => void) | undefined;
  #error: unknown;

  /** Follows until the source ends. */
  follow(source: AsyncIterable<Sign>): void {
    void (async () => {
      try {
        for await (const sign of source) {
          // Positions stay what they are: what is too much is left out, not moved.
          if (this.#kept.length < MAX_KEPT) this.#kept.push({ sign, at: performance.now() });
          this.#wake?.();
        }
      } catch (error) {
        this.#error = error;
        this.#wake?.();
      }
    })();
  }

  /** Where the log is now, for {@link feed}. */
  get position(): number {
    return this.#kept.length;
  }

  /** Gives a judge what came since a position. @returns the new one @throws what the source threw */
  feed(judge: Judge, from: number): number {
    if (this.#error !== undefined) throw this.#error;
    for (const { sign, at } of this.#kept.slice(from)) judge.saw(sign, at);
    return this.#kept.length;
  }

  /** Resolves when a sign comes, the time is over, or the signal is aborted. */
  async next(ms: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    this.#wake = resolve;
    signal.addEventListener("abort", () => resolve(), { once: true });
    if (!signal.aborted) await promise;
    clearTimeout(timer);
    this.#wake = undefined;
  }
}
