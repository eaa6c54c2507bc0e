/**
 * Gives memory back after work: garbage and compiled code, then the pages of the program itself, which come back from the
 * page cache when they are needed. Its timers are set by activity; there is none while idle.
 */

import { dropPages, programMappings, type Range } from "../../shim/linux/index.ts";

/** Without a call for this long the daemon is idle. */
const IDLE_MS = 10_000;
/** The allocator returns the pages that the first pass has freed only when it is called again, some time later. */
const SECOND_PASS_MS = 1_000;
/** After the second pass has done its work, which touches much of the program. */
const LAST_PASS_MS = 100;

/** Waits for the end of a burst of work, and then trims this process. */
export class Trimmer {
  #timer: ReturnType<typeof setTimeout> | undefined;
  #last = 0;

  /** There was work. */
  touch(): void {
    this.#last = performance.now();
    this.#timer ??= this.#arm(IDLE_MS);
  }

  /** No more of it. */
  stop(): void {
    clearTimeout(this.#timer);
    // Later touches find a timer, and set none.
    this.#timer ??= this.#arm(0);
    clearTimeout(this.#timer);
  }

  #arm(delay: number): ReturnType<typeof setTimeout> {
    const timer = setTimeout(() => {
      // There was more work since: what would be given back now might be asked for again at once.
      const left = this.#last + IDLE_MS - performance.now();
      if (left > 1) this.#timer = this.#arm(left);
      else this.#trim();
    }, delay);
    timer.unref();
    return timer;
  }

  #trim(): void {
    // Found now, because finding them takes memory that the passes give back.
    const mappings = findMappings();
    Bun.shrink();
    this.#timer = setTimeout(() => {
      Bun.shrink();
      this.#timer = setTimeout(() => {
        this.#timer = undefined;
        dropPages(mappings);
      }, LAST_PASS_MS);
    }, SECOND_PASS_MS);
  }
}

function findMappings(): Range[] {
  try {
    return programMappings();
  } catch {
    return [];
  }
}
