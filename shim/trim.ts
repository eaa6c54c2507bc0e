/** Gives memory back after work: timers that are set by activity, none while idle (PR-11). */

import { deadlines } from "../proto/deadlines.ts";
import { messageOf } from "../proto/errdefs.ts";
import { dropFilePages } from "./linux/memory.ts";
import { log } from "./log.ts";

/** The allocator returns the pages that the first pass has freed only when it is called again, some time later. */
const SECOND_PASS = 1_000;

/** Waits for the end of a burst of work, and then trims this process. */
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
        try {
          dropFilePages();
        } catch (error) {
          log.debug(`drop file pages: ${messageOf(error)}`);
        }
        shrink();
        this.#timer = setTimeout(() => {
          this.#timer = undefined;
          shrink();
        }, SECOND_PASS);
      }
    }, delay);
  }
}

/** Collects garbage, drops compiled code, and returns free pages. */
function shrink(): void {
  Bun.shrink();
}
