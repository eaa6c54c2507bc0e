/** Gives memory back after a burst of work: one timer that is set by activity, none while idle (PR-11). */

import { deadlines } from "../proto/deadlines.ts";

export class Trimmer {
  #timer: ReturnType<typeof setTimeout> | undefined;
  #calls = 0;

  /** There was work. */
  touch(): void {
    this.#calls++;
    this.#timer ??= this.#arm();
  }

  #arm(): ReturnType<typeof setTimeout> {
    const before = this.#calls;
    return setTimeout(() => {
      // Still busy: what would be given back now would be asked for again at once.
      if (this.#calls !== before) this.#timer = this.#arm();
      else {
        this.#timer = undefined;
        Bun.gc(true);
      }
    }, deadlines.trim);
  }
}
