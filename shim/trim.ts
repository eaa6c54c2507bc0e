/** Gives memory back after a burst of work: one timer that is set by activity, none while idle (PR-11). */

import { deadlines } from "../proto/deadlines.ts";

export class Trimmer {
  #timer: ReturnType<typeof setTimeout> | undefined;
  #last = 0;

  /** There was work. */
  touch(): void {
    this.#last = performance.now();
    this.#timer ??= this.#arm(deadlines.trim);
  }

  #arm(delay: number): ReturnType<typeof setTimeout> {
    return setTimeout(() => {
      // There was more work since: what would be given back now might be asked for again at once.
      const left = this.#last + deadlines.trim - performance.now();
      if (left > 1) this.#timer = this.#arm(left);
      else {
        this.#timer = undefined;
        // Collects garbage, drops compiled code, and returns free pages.
        Bun.shrink();
      }
    }, delay);
  }
}
