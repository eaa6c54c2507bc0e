/** The checks of one task: one at a time, one timer at most, none while it is paused. */

import { messageOf } from "../../proto/errdefs.ts";
import { containerd } from "../../proto/gen/supervisor.js";
import type { Any } from "../../proto/typeurl.ts";
import type { Limit } from "../task/limit.ts";
import type { Task } from "../task/task.ts";
import { probe } from "./probe.ts";
import type { Outcome, Standing, Verdict } from "./standing.ts";

const { Status } = containerd.v1.types;

/** Checks that are remembered. */
const MAX_RESULTS = 5;

/** What the checks of a task need. */
export interface CheckedOptions {
  readonly task: Task;
  readonly standing: Standing;
  readonly process: Any;
  /** Directory of FIFOs. */
  readonly directory: string;
  /** Bounds the checks of all containers together. */
  readonly limit: Limit;
  /** How old the task is already, in milliseconds. */
  readonly age: number;
  /** A check was made and counted. Errors it may throw are logged by it. */
  readonly onChecked: (outcome: Outcome, verdict: Verdict) => Promise<void>;
}

/** The checks of one task. */
export class Checked {
  readonly task: Task;
  readonly standing: Standing;
  readonly #options: CheckedOptions;
  /** When the task began, on the clock of performance.now(). */
  readonly #since: number;
  readonly #results: Outcome[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #running: Promise<void> | undefined;
  #isPaused = false;
  #isOver = false;

  constructor(options: CheckedOptions) {
    this.task = options.task;
    this.standing = options.standing;
    this.#options = options;
    this.#since = performance.now() - options.age;
    this.#schedule();
  }

  /** The last checks, oldest first. */
  get results(): readonly Outcome[] {
    return this.#results;
  }

  /** True once its task has ended, or its configuration is another. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** No more checks. One that is under way comes to its end, and counts no more. */
  end(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
  }

  /** A paused container runs nothing, so nothing can be checked. */
  pause(): void {
    this.#isPaused = true;
    clearTimeout(this.#timer);
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#schedule();
  }

  /** Makes a check now, or joins the one under way; resolves when it was counted. Never rejects. */
  run(): Promise<void> {
    this.#running ??= this.#options.limit
      .run(() => this.#check())
      .finally(() => {
        this.#running = undefined;
        this.#schedule();
      });
    return this.#running;
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    if (this.#isOver || this.#isPaused || this.#running !== undefined) return;
    this.#timer = setTimeout(() => void this.run(), this.standing.delay(performance.now() - this.#since));
    this.#timer.unref();
  }

  async #check(): Promise<void> {
    const { task, standing, process, directory, onChecked } = this.#options;
    if (this.#isOver || this.#isPaused) return;
    const age = performance.now() - this.#since;
    const outcome = await probe({ task, process, directory, timeoutMs: standing.config.timeout });
    // What fails because the container ends, or stands still, says nothing of its health.
    if (outcome.result !== "success" && !(await this.#isRunning())) return;
    if (this.#isOver) return;
    this.#results.push(outcome);
    if (this.#results.length > MAX_RESULTS) this.#results.shift();
    await onChecked(outcome, standing.record(outcome, age));
  }

  async #isRunning(): Promise<boolean> {
    try {
      return (await this.task.state("")).status === Status.RUNNING;
    } catch (error) {
      // A shim that does not answer has not said that its container ended.
      return !/not found/i.test(messageOf(error));
    }
  }
}
