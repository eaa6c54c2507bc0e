/**
 * Gives memory back after work: `Bun.shrink` collects garbage, drops compiled code and returns free pages; then the pages
 * of the program itself go. Its timers are set by activity; there is none while idle (PR-11).
 */

import { deadlines } from "../proto/deadlines.ts";
import { messageOf } from "../proto/errdefs.ts";
import { dropPages, programMappings, type Range } from "./linux/memory.ts";
import { log } from "./log.ts";

/** The allocator returns the pages that the first pass has freed only when it is called again, some time later. */
const SECOND_PASS = 1_000;
/** After the second pass has done its work, which touches much of the program. */
const LAST_PASS = 100;

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
      else this.#trim();
    }, delay);
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
      }, LAST_PASS);
    }, SECOND_PASS);
  }
}

function findMappings(): Range[] {
  try {
    return programMappings();
  } catch (error) {
    log.debug(`find mappings: ${messageOf(error)}`);
    return [];
  }
}
