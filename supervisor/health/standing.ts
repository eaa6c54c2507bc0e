/**
 * What checks make of a container: its status, and when the next check is due. Pure: it is told how old the task is, in
 * milliseconds of a monotonic clock, so that a jump of the wall clock changes nothing.
 */

import type { HealthConfig, HealthStatus } from "../container/health.ts";

/** How a check went. */
export interface Outcome {
  readonly result: "success" | "failure" | "timeout" | "error";
  /** -1 when it was not run, or did not end in time. */
  readonly exitCode: number;
  /** The end of what it printed. */
  readonly output: string;
  /** When it began, in milliseconds since the epoch: for people alone. */
  readonly at: number;
  readonly ms: number;
}

/** What follows from a check. */
export interface Verdict {
  readonly hasChanged: boolean;
  /** Enough failures in a row: the action of the configuration is due. */
  readonly isDue: boolean;
}

/** The standing of one task. */
export class Standing {
  readonly config: HealthConfig;
  readonly #random: () => number;
  #status: HealthStatus;
  #streak = 0;
  #hasSucceeded: boolean;
  #isFirst = true;

  /**
   * @param status what an earlier daemon knew of the same task; `starting` for a new one
   * @param random 0 to 1, for the jitter
   */
  constructor(config: HealthConfig, status: HealthStatus = "starting", random: () => number = Math.random) {
    this.config = config;
    this.#random = random;
    this.#status = status;
    this.#hasSucceeded = status === "healthy";
  }

  get status(): HealthStatus {
    return this.#status;
  }

  /** Failures in a row that count. */
  get streak(): number {
    return this.#streak;
  }

  /** It was healthy at some time of its life. */
  get hasSucceeded(): boolean {
    return this.#hasSucceeded;
  }

  /**
   * Milliseconds until the next check. The first comes somewhere in the second half of an interval, later ones a tenth
   * sooner or later, so that containers which start together are not checked together.
   */
  delay(age: number): number {
    const { interval, start_interval: startInterval } = this.config;
    const full = this.#isStarting(age) ? Math.min(interval, startInterval) : interval;
    const jitter = this.#random();
    const wait = this.#isFirst ? full * (0.5 + jitter / 2) : full * (0.9 + jitter / 5);
    this.#isFirst = false;
    return wait;
  }

  /** Counts a check. @param age of the task when the check began */
  record({ result }: Outcome, age: number): Verdict {
    const before = this.#status;
    if (result === "success") {
      this.#streak = 0;
      this.#hasSucceeded = true;
      this.#status = "healthy";
      return { hasChanged: before !== "healthy", isDue: false };
    }
    // It may fail as often as it likes until it has begun.
    if (this.#isStarting(age)) return { hasChanged: false, isDue: false };
    this.#streak++;
    const { retries } = this.config;
    if (this.#streak >= retries) this.#status = "unhealthy";
    // Once for each row of failures; an action that failed is due again after as many more.
    return { hasChanged: this.#status !== before, isDue: this.#streak % retries === 0 };
  }

  #isStarting(age: number): boolean {
    return !this.#hasSucceeded && age < this.config.start_period;
  }
}
