/**
 * Health checks: label `berth/health` of a container says how it is checked while its task runs, label
 * `berth/health.status` how it is. A container without the label costs nothing.
 *
 * Invariants: times are of the monotonic clock. A check writes nothing to disk; a change of the status writes the label,
 * once. What an earlier daemon knew of a task that still runs goes on.
 */

import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { failedPrecondition, messageOf } from "../../proto/errdefs.ts";
import { berth, containerd } from "../../proto/gen/supervisor.js";
import type { HealthStatus } from "../container/health.ts";
import { labels as names } from "../container/labels.ts";
import type { Envelope, Exchange } from "../event/exchange.ts";
import type { Log } from "../log/log.ts";
import type { ContainerRecord } from "../restart/start.ts";
import { Limit } from "../task/limit.ts";
import type { TaskManager } from "../task/manager.ts";
import type { Task } from "../task/task.ts";
import { type Actions, act } from "./action.ts";
import { ageOf } from "./age.ts";
import { Checked } from "./checked.ts";
import { commandOf, parseHealth } from "./config.ts";
import { processOf } from "./process.ts";
import { type Outcome, Standing, type Verdict } from "./standing.ts";

const { Status } = containerd.v1.types;
const { TaskExit, TaskStart, TaskPaused, TaskResumed, ContainerUpdate, ContainerDelete } = containerd.events;
const { HealthChanged } = berth.v1;

/** Filters of what is followed. */
const topics = [
  ...["/tasks/start", "/tasks/exit", "/tasks/paused", "/tasks/resumed"].map((topic) => `topic=="${topic}"`),
  ...["/containers/update", "/containers/delete"].map((topic) => `topic=="${topic}"`),
];

/** What health checks need of other rooms. */
export interface HealthOptions {
  readonly tasks: Pick<TaskManager, "find" | "list" | "loaded">;
  readonly containers: {
    get(namespace: string, id: string): ContainerRecord;
    update(
      namespace: string,
      container: containerd.services.containers.v1.Container.$Properties,
      paths: readonly string[],
    ): Promise<unknown>;
  };
  readonly exchange: Exchange;
  readonly actions: Actions;
  readonly log: Log;
  /** Directory for FIFOs, on a file system that need not survive a reboot. */
  readonly directory: string;
  /** Checks that run at the same time. */
  readonly parallel: number;
}

/** What is known of a container's health. */
export interface Health {
  readonly status: HealthStatus | undefined;
  readonly streak: number;
  readonly results: readonly Outcome[];
}

/** The health checks of one daemon. */
export class HealthRoom {
  readonly #options: HealthOptions;
  readonly #limit: Limit;
  readonly #checked = new Map<string, Checked>();
  readonly #controller = new AbortController();
  readonly #counts: Record<Outcome["result"], number> = { success: 0, failure: 0, timeout: 0, error: 0 };

  /** @throws Error when the directory cannot be made */
  constructor(options: HealthOptions) {
    this.#options = options;
    this.#limit = new Limit(options.parallel);
    mkdirSync(options.directory, { recursive: true, mode: 0o700 });
    // FIFOs of a daemon that was killed in the midst of checks.
    for (const name of readdirSync(options.directory)) rmSync(join(options.directory, name), { force: true });
  }

  /** Begins; tasks that run already are checked as soon as they are known. */
  start(): void {
    void this.#run().catch((error: unknown) => this.#options.log.error(`health checks: ${messageOf(error)}`));
  }

  /** Ends. A check under way is left to the next daemon, which takes it away. */
  stop(): void {
    this.#controller.abort();
    for (const checked of this.#checked.values()) checked.end();
    this.#checked.clear();
  }

  /** The status of the task that a container has now; undefined for a container without a check. */
  status(namespace: string, id: string): HealthStatus | undefined {
    const checked = this.#current(namespace, id);
    if (checked !== undefined) return checked.standing.status;
    const config = parseHealth(this.#labels(namespace, id)?.[names.health]);
    return typeof config === "object" ? "starting" : undefined;
  }

  /**
   * What is known of a container's health; without a status when it does not run.
   * @throws ContainerdError NotFound for no such container; FailedPrecondition for one without a check
   */
  get(namespace: string, id: string): Health {
    const { labels } = this.#options.containers.get(namespace, id);
    const config = parseHealth(labels[names.health]);
    if (config === undefined) throw failedPrecondition(`container ${id} has no health check`);
    if (typeof config === "string") throw failedPrecondition(`label ${names.health} of ${id}: ${config}`);
    const checked = this.#current(namespace, id);
    if (checked === undefined) return { status: undefined, streak: 0, results: [] };
    return { status: checked.standing.status, streak: checked.standing.streak, results: checked.results };
  }

  /** Makes a check now. @throws ContainerdError as {@link get}; FailedPrecondition for a container that does not run */
  async check(namespace: string, id: string): Promise<Health> {
    this.get(namespace, id);
    const checked = this.#current(namespace, id);
    if (checked === undefined) throw failedPrecondition(`container ${id} is not running`);
    await checked.run();
    return this.get(namespace, id);
  }

  /** Checks since the daemon began, by their results. */
  get counts(): Readonly<Record<Outcome["result"], number>> {
    return this.#counts;
  }

  /** The containers that are checked now. */
  *standings(): Generator<{ namespace: string; id: string; status: HealthStatus; streak: number }> {
    for (const { task, standing } of this.#checked.values()) {
      yield { namespace: task.namespace, id: task.id, status: standing.status, streak: standing.streak };
    }
  }

  #current(namespace: string, id: string): Checked | undefined {
    const checked = this.#checked.get(`${namespace}/${id}`);
    return checked !== undefined && checked.task === this.#options.tasks.find(namespace, id) ? checked : undefined;
  }

  async #run(): Promise<void> {
    const { signal } = this.#controller;
    const { tasks, exchange, log } = this.#options;
    await tasks.loaded;
    while (!signal.aborted) {
      const events = exchange.subscribe(topics, signal);
      for (const task of await tasks.list()) {
        if (this.#current(task.namespace, task.id) === undefined) await this.#found(task);
      }
      try {
        for await (const event of events) this.#saw(event);
      } catch (error) {
        // Events were lost: look at everything again.
        log.warn(`health checks: ${messageOf(error)}`);
      }
    }
  }

  /** A task that runs already. */
  async #found(task: Task): Promise<void> {
    const labels = this.#labels(task.namespace, task.id);
    if (labels?.[names.health] === undefined) return;
    const state = await task.state("").catch(() => undefined);
    if (state?.status !== Status.RUNNING && state?.status !== Status.PAUSED) return;
    const known = labels[names.healthStatus];
    const status = known === "healthy" || known === "unhealthy" ? known : "starting";
    const checked = this.#begin(task, status, await ageOf(state.pid));
    if (state.status === Status.PAUSED) checked?.pause();
  }

  #saw({ namespace: given, topic, event }: Envelope): void {
    const namespace = given ?? "";
    const value = event?.value ?? new Uint8Array(0);
    const checkedOf = (id: string): Checked | undefined => this.#checked.get(`${namespace}/${id}`);
    switch (topic) {
      case "/tasks/start": {
        const task = this.#options.tasks.find(namespace, TaskStart.decode(value).containerId);
        if (task !== undefined) this.#begin(task, "starting", 0);
        break;
      }
      case "/tasks/exit": {
        const { containerId, id } = TaskExit.decode(value);
        if (id === containerId) this.#end(namespace, id);
        break;
      }
      case "/tasks/paused":
        checkedOf(TaskPaused.decode(value).containerId)?.pause();
        break;
      case "/tasks/resumed":
        checkedOf(TaskResumed.decode(value).containerId)?.resume();
        break;
      case "/containers/update": {
        const { id, labels } = ContainerUpdate.decode(value);
        this.#relabelled(namespace, id, labels);
        break;
      }
      case "/containers/delete":
        this.#end(namespace, ContainerDelete.decode(value).id);
        break;
    }
  }

  /** A container has other labels; only the one that says how it is checked is of interest. */
  #relabelled(namespace: string, id: string, labels: Readonly<Record<string, string>>): void {
    const checked = this.#current(namespace, id);
    if (checked === undefined && labels[names.health] === undefined) return;
    const config = parseHealth(labels[names.health]);
    if (JSON.stringify(checked?.standing.config) === JSON.stringify(config)) return;
    this.#end(namespace, id);
    const task = this.#options.tasks.find(namespace, id);
    if (task !== undefined && typeof config === "object") {
      void this.#found(task).catch((error: unknown) => this.#options.log.error(`health: ${messageOf(error)}`));
    }
  }

  #end(namespace: string, id: string): void {
    const key = `${namespace}/${id}`;
    this.#checked.get(key)?.end();
    this.#checked.delete(key);
  }

  #begin(task: Task, status: HealthStatus, age: number): Checked | undefined {
    const { namespace, id } = task;
    const { containers, directory, log } = this.#options;
    this.#end(namespace, id);
    if (this.#controller.signal.aborted) return undefined;
    try {
      const { labels, spec } = containers.get(namespace, id);
      const config = parseHealth(labels[names.health]);
      if (typeof config === "string") log.error(`label ${names.health} is ignored: ${config}`, { namespace, id });
      if (typeof config !== "object") return undefined;
      const checked: Checked = new Checked({
        ...{ task, directory, age },
        limit: this.#limit,
        standing: new Standing(config, status),
        process: processOf(spec?.value ?? undefined, commandOf(config)),
        onChecked: (outcome, verdict) => this.#checkedOne(checked, outcome, verdict),
      });
      this.#checked.set(`${namespace}/${id}`, checked);
      void this.#label(checked);
      return checked;
    } catch (error) {
      log.error(`no health checks: ${messageOf(error)}`, { namespace, id });
      return undefined;
    }
  }

  /** True when the container is to be checked in another way, and the news of that is still on its way to us. */
  #isOutdated({ task: { namespace, id }, standing: { config } }: Checked): boolean {
    return JSON.stringify(parseHealth(this.#labels(namespace, id)?.[names.health])) !== JSON.stringify(config);
  }

  async #checkedOne(checked: Checked, outcome: Outcome, { hasChanged, isDue }: Verdict): Promise<void> {
    if (this.#isOutdated(checked)) return;
    const { namespace, id } = checked.task;
    const { status, streak, config } = checked.standing;
    const { log, exchange, actions } = this.#options;
    this.#counts[outcome.result]++;
    if (hasChanged) {
      const { exitCode, output } = outcome;
      log[status === "unhealthy" ? "warn" : "info"](`container is ${status}`, { namespace, id, streak, exitCode });
      const event = { containerId: id, status, failingStreak: streak, exitCode, output };
      exchange.publish(namespace, "/berth/health", {
        name: "berth.v1.HealthChanged",
        value: HealthChanged.encode(event).finish(),
      });
    }
    await this.#label(checked);
    if (!isDue || config.action === "none" || checked.isOver) return;
    // The action ends the task, and with it these checks: they do not wait for it.
    void act(config.action, checked, outcome, actions).catch((error: unknown) =>
      log.error(`action ${config.action} of an unhealthy container: ${messageOf(error)}`, { namespace, id }),
    );
  }

  /** Writes the status where it is not what the label says. Never rejects: the next check tries again. */
  async #label(checked: Checked): Promise<void> {
    const { namespace, id } = checked.task;
    const { status } = checked.standing;
    if (this.#isOutdated(checked)) return;
    if (this.#labels(namespace, id)?.[names.healthStatus] === status) return;
    const labels = { [names.healthStatus]: status };
    await this.#options.containers
      .update(namespace, { id, labels }, [`labels.${names.healthStatus}`])
      .catch((error) => {
        this.#options.log.warn(`cannot note health: ${messageOf(error)}`, { namespace, id });
      });
  }

  #labels(namespace: string, id: string): Readonly<Record<string, string>> | undefined {
    try {
      return this.#options.containers.get(namespace, id).labels;
    } catch {
      return undefined;
    }
  }
}
