/** How long to wait before a restart. Times are milliseconds of a monotonic clock: a jump of the clock changes nothing. */

/** The bounds of the wait. */
export interface BackoffSettings {
  readonly min: number;
  readonly max: number;
  /** A task that ran this long starts again from the shortest wait. */
  readonly reset: number;
}

/** Waits for one container. */
export class Backoff {
  readonly #settings: BackoffSettings;
  readonly #random: () => number;
  #step = 0;

  /** @param random 0 to 1, for the jitter */
  constructor(settings: BackoffSettings, random: () => number = Math.random) {
    this.#settings = settings;
    this.#random = random;
  }

  /** The next wait: each doubles up to the longest, less up to a quarter, so that not all come at once. */
  next(): number {
    const { min, max } = this.#settings;
    const full = Math.min(max, min * 2 ** Math.min(this.#step, 40));
    this.#step++;
    return full * (1 - this.#random() / 4);
  }

  /** The task ran this long; undefined: longer than anybody knows. */
  ran(ms: number | undefined): void {
    if (ms === undefined || ms >= this.#settings.reset) this.#step = 0;
  }
}
