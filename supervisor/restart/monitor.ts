/**
 * Keeps containers in the state that their labels ask for: containerd's restart monitor (plugins/restart), driven by
 * what happens and not by a clock that looks every ten seconds. Beyond containerd's: waits that grow, order of start,
 * ends that are known after a power cut, and restarts that a health check asks for.
 *
 * Invariants: one attempt at a time for each container, and one timer at most; what an attempt does is decided when it
 * begins, from the labels and the task of that moment. A client that has just made, labelled or deleted something is left
 * in peace for as long as containerd's monitor would sleep: it may be about to start or to stop the task itself.
 * Containers of applications have no such client. All waits are of the monotonic clock.
 */

import { messageOf } from "../../proto/errdefs.ts";
import { containerd } from "../../proto/gen/supervisor.js";
import type { HealthStatus } from "../container/health.ts";
import { labels as names } from "../container/labels.ts";
import type { Exchange } from "../event/exchange.ts";
import type { Log } from "../log/log.ts";
import { Limit } from "../task/limit.ts";
import type { TaskManager } from "../task/manager.ts";
import { isNotFound } from "../task/task.ts";
import type { BackoffSettings } from "./backoff.ts";
import { type Change, changeOf, followed } from "./change.ts";
import { Gate } from "./gate.ts";
import { Notes } from "./notes.ts";
import {
  countOf,
  hasGivenUp,
  isCounted,
  isFirstStart,
  lastExitOf,
  RUNNING,
  restartLabels,
  shouldRestart,
} from "./policy.ts";
import { endAll } from "./shutdown.ts";
import { type ContainerRecord, type StartOptions, startContainer, stopContainer } from "./start.ts";
import { backOff, clearTimers, type Description, describe, ended, newWatched, type Watched } from "./watched.ts";

const { Status } = containerd.v1.types;

/** Clients are left in peace this long, in milliseconds: the interval of containerd's monitor. */
const GRACE_MS = 10_000;
/** Starts side by side, unless told: more only wait for each other on the few processors of an edge node. */
const PARALLEL = 8;
/** A container that waits this long for others is told of in the log. It waits on. */
const LONG_WAIT_MS = 120_000;
/** At the daemon's end attempts under way have this long. */
const STOP_MS = 3_000;
/** And at the machine's end: what they start is ended too. */
const HALT_MS = 10_000;

/** What the monitor works with. */
export interface MonitorOptions extends StartOptions {
  readonly tasks: TaskManager;
  readonly containers: {
    get(namespace: string, id: string): ContainerRecord;
    list(namespace: string, filters?: readonly string[]): ContainerRecord[];
    update(
      namespace: string,
      container: containerd.services.containers.v1.Container.$Properties,
      paths: readonly string[],
    ): Promise<unknown>;
  };
  readonly namespaces: { list(): readonly { readonly name: string }[] };
  readonly exchange: Exchange;
  readonly log: Log;
  readonly backoff: BackoffSettings;
  /** The health of the task that a container has now; undefined when it has no check. */
  readonly health?: (namespace: string, id: string) => HealthStatus | undefined;
  /** Starts side by side, other than {@link PARALLEL}. */
  readonly parallel?: number;
  /** Other than {@link LONG_WAIT_MS}. */
  readonly longWaitMs?: number;
  /** Other than {@link GRACE_MS}, for tests. */
  readonly graceMs?: number;
}

/** What a container needs. */
type Need = "start" | "stop" | undefined;

/** The restart monitor of one daemon. */
export class RestartMonitor {
  readonly #options: MonitorOptions;
  readonly #watched = new Map<string, Watched>();
  readonly #controller = new AbortController();
  readonly #work = new Set<Promise<void>>();
  readonly #graceMs: number;
  readonly #limit: Limit;
  readonly #gate: Gate;
  readonly #notes: Notes;
  /** The machine goes down: nothing is started. */
  #isHalted = false;
  readonly #counts = { started: 0, failed: 0 };

  constructor(options: MonitorOptions) {
    this.#options = options;
    this.#graceMs = options.graceMs ?? GRACE_MS;
    this.#limit = new Limit(options.parallel ?? PARALLEL);
    this.#gate = new Gate({
      ...{ tasks: options.tasks, log: options.log, health: options.health ?? (() => undefined) },
      find: (namespace, id) => this.#find(namespace, id),
      lastExit: (namespace, id) => this.#watched.get(keyOf(namespace, id))?.exitStatus,
    });
    this.#notes = new Notes({
      find: (namespace, id) => this.#find(namespace, id),
      label: (namespace, id, labels) => this.#label(namespace, id, labels),
    });
  }

  /** Begins; what an earlier daemon has left is looked at as soon as it is known. */
  start(): void {
    void this.#run().catch((error: unknown) => this.#options.log.error(`restart monitor: ${messageOf(error)}`));
  }

  /** Ends. Attempts under way come to their end. */
  async stop(): Promise<void> {
    this.#controller.abort();
    for (const watched of this.#watched.values()) clearTimers(watched);
    this.#watched.clear();
    await Promise.race([Promise.all(this.#work), Bun.sleep(STOP_MS)]);
  }

  /** What is known of the restarts of a container; undefined for one that has neither restart labels nor was restarted. */
  describe(namespace: string, id: string): Description | undefined {
    const watched = this.#watched.get(keyOf(namespace, id));
    return watched === undefined ? undefined : describe(watched);
  }

  /** {@link describe} of all containers that are watched. */
  *descriptions(): Generator<Description & { readonly namespace: string; readonly id: string }> {
    for (const [key, watched] of this.#watched) {
      const [namespace = "", id = ""] = key.split("/");
      yield { namespace, id, ...describe(watched) };
    }
  }

  /** Starts since the daemon began, by how they went, and containers that wait for others. */
  get counts(): { readonly started: number; readonly failed: number; readonly waiting: number } {
    const waiting = [...this.#watched.values()].filter(({ waitingFor }) => waitingFor.length > 0).length;
    return { ...this.#counts, waiting };
  }

  /**
   * Ends a container's task and starts it again after the wait that it has earned, whatever its policy says.
   * @param reason for people
   * @param wasWell false: the run counts as a failure however long it was, and the wait grows
   * @throws ContainerdError when the task cannot be ended
   */
  async restart(namespace: string, id: string, reason: string, wasWell: boolean): Promise<void> {
    const container = this.#find(namespace, id);
    if (container === undefined || this.#isHalted) return;
    const watched = this.#watch(keyOf(namespace, id));
    watched.isForced = true;
    watched.keepsWait = !wasWell;
    watched.reason = reason;
    this.#options.log.warn(`restarting container: ${reason}`, { namespace, id });
    const { ends } = watched;
    await stopContainer(namespace, container, this.#options);
    // Its end is told and followed like any other, now or a moment later.
    await this.#consider(namespace, id, () => (watched.ends > ends ? 0 : backOff(watched)));
  }

  /**
   * Ends all tasks in order, and starts none any more until {@link resume}: the machine goes down. Labels stay as they
   * are: the next daemon starts what ran.
   */
  async halt(): Promise<{ ended: number; left: number }> {
    this.#isHalted = true;
    for (const watched of this.#watched.values()) clearTimers(watched);
    await Promise.race([Promise.all(this.#work), Bun.sleep(HALT_MS)]);
    const { tasks, log } = this.#options;
    return endAll({ tasks, log, find: (namespace, id) => this.#find(namespace, id) });
  }

  /** The machine does not go down after all. */
  async resume(): Promise<void> {
    this.#isHalted = false;
    await this.#considerAll();
  }

  async #run(): Promise<void> {
    const { signal } = this.#controller;
    const { tasks, exchange, log } = this.#options;
    await tasks.loaded;
    while (!signal.aborted) {
      const events = exchange.subscribe(followed, signal);
      await this.#considerAll();
      try {
        for await (const event of events) this.#saw(changeOf(event));
      } catch (error) {
        // Events were lost: look at everything again.
        log.warn(`restart monitor: ${messageOf(error)}`);
      }
    }
  }

  async #considerAll(): Promise<void> {
    const { namespaces, containers } = this.#options;
    for (const { name } of namespaces.list()) {
      try {
        for (const { id } of containers.list(name, [`labels."${restartLabels.status}"`])) {
          await this.#consider(name, id, () => 0);
        }
      } catch (error) {
        this.#options.log.error(`restart monitor: ${messageOf(error)}`, { namespace: name });
      }
    }
  }

  #saw(change: Change | undefined): void {
    if (change === undefined) return;
    const { kind, namespace, id } = change;
    switch (kind) {
      case "started": {
        const watched = this.#watched.get(keyOf(namespace, id));
        if (watched !== undefined) watched.startedAt = performance.now();
        this.#background(namespace, id, this.#notes.note(namespace, id, RUNNING));
        break;
      }
      case "ended":
        this.#later(namespace, id, (watched) => {
          ended(watched, change.exitStatus);
          return backOff(watched);
        });
        // What the machine's own end ends is to run again, however it takes that.
        if (!this.#isHalted) {
          this.#background(namespace, id, this.#notes.note(namespace, id, String(change.exitStatus)));
        }
        break;
      case "removed":
        this.#forget(keyOf(namespace, id));
        this.#gate.forget(namespace, id);
        break;
      default:
        this.#later(namespace, id);
    }
    // Others may wait for this.
    for (const waiter of this.#gate.waiters(namespace, id)) this.#later(namespace, waiter, () => 0);
  }

  /** Looks at a container in the background. @param delay before what it may need; undefined: as its clients need */
  #later(namespace: string, id: string, delay?: (watched: Watched) => number): void {
    this.#background(namespace, id, this.#consider(namespace, id, delay));
  }

  #background(namespace: string, id: string, doing: Promise<unknown>): void {
    const work: Promise<void> = doing.then(
      () => undefined,
      (error: unknown) => this.#options.log.error(`restart of ${id}: ${messageOf(error)}`, { namespace }),
    );
    this.#work.add(work);
    void work.finally(() => this.#work.delete(work));
  }

  #forget(key: string): void {
    const watched = this.#watched.get(key);
    if (watched !== undefined) clearTimers(watched);
    this.#watched.delete(key);
  }

  #watch(key: string): Watched {
    const watched = this.#watched.get(key) ?? newWatched(this.#options.backoff);
    this.#watched.set(key, watched);
    return watched;
  }

  async #label(namespace: string, id: string, labels: Record<string, string>): Promise<void> {
    const paths = Object.keys(labels).map((name) => `labels.${name}`);
    await this.#options.containers.update(namespace, { id, labels }, paths);
  }

  /** Looks at a container, and sets its timer when it needs something. */
  async #consider(namespace: string, id: string, delay?: (watched: Watched) => number): Promise<void> {
    const key = keyOf(namespace, id);
    const container = this.#find(namespace, id);
    const isLabelled = container !== undefined && Object.hasOwn(container.labels, restartLabels.status);
    // One without labels that a check had restarted keeps the wait that it has come to.
    if (container === undefined || (!isLabelled && !this.#watched.has(key))) {
      this.#forget(key);
      return;
    }
    const watched = this.#watch(key);
    const wait = delay?.(watched) ?? (Object.hasOwn(container.labels, names.app) ? 0 : this.#graceMs);
    const need = await this.#needOf(namespace, container, watched);
    if (this.#watched.get(key) !== watched || this.#isHalted) return;
    if (need === undefined) {
      clearTimers(watched);
      watched.waitingFor = [];
      return;
    }
    const now = performance.now();
    this.#schedule(namespace, id, watched, need === "start" ? Math.max(wait, watched.notBefore - now) : wait);
  }

  #schedule(namespace: string, id: string, watched: Watched, wait: number): void {
    const due = performance.now() + wait;
    // What is to happen sooner happens sooner, and then looks at what is true by then.
    if (watched.isAtWork || (watched.timer !== undefined && watched.due <= due)) return;
    clearTimeout(watched.timer);
    watched.due = due;
    watched.timer = setTimeout(() => {
      watched.timer = undefined;
      const work = this.#attempt(namespace, id, watched);
      this.#work.add(work);
      void work.finally(() => this.#work.delete(work));
    }, wait);
  }

  /** Does what the container needs now. Never rejects. */
  async #attempt(namespace: string, id: string, watched: Watched): Promise<void> {
    if (watched.isAtWork || this.#isOver) return;
    watched.isAtWork = true;
    const { ends } = watched;
    let outcome: "failed" | "waits" | "done" | undefined;
    try {
      const container = this.#find(namespace, id);
      const need = container === undefined ? undefined : await this.#needOf(namespace, container, watched);
      if (container === undefined || need === undefined) return;
      if (need === "stop") await stopContainer(namespace, container, this.#options);
      else outcome = await this.#limit.run(() => this.#start(namespace, id, watched));
      outcome ??= "done";
    } catch (error) {
      outcome = "failed";
      this.#counts.failed++;
      watched.lastError = messageOf(error);
      this.#options.log.error(`restart monitor: ${messageOf(error)}`, { namespace, id });
    } finally {
      watched.isAtWork = false;
    }
    if (this.#watched.get(keyOf(namespace, id)) !== watched || this.#isOver || outcome === "waits") return;
    // What happened while we were at work was not followed: look once more. An end has set its own wait.
    const wait = outcome === "failed" ? backOff(watched) : watched.ends > ends ? 0 : undefined;
    await this.#consider(namespace, id, wait === undefined ? undefined : () => wait).catch(() => undefined);
  }

  /** Starts a container whose turn it is. @returns `waits` when it has to wait for others @throws ContainerdError */
  async #start(namespace: string, id: string, watched: Watched): Promise<"waits" | "done"> {
    // Much may have happened until its turn came.
    const container = this.#find(namespace, id);
    if (container === undefined || this.#isOver) return "done";
    if ((await this.#needOf(namespace, container, watched)) !== "start") return "done";
    watched.waitingFor = await this.#gate.unmet(namespace, container);
    if (watched.waitingFor.length > 0) {
      this.#waits(namespace, id, watched);
      return "waits";
    }
    clearTimeout(watched.longWait);
    watched.longWait = undefined;
    const count = countOf(container.labels) + 1;
    if (isCounted(container.labels, watched.exitStatus)) {
      await this.#label(namespace, id, { [restartLabels.count]: String(count) });
    }
    await startContainer(namespace, container, this.#options);
    watched.isForced = false;
    watched.restarts++;
    watched.startedAt ??= performance.now();
    this.#counts.started++;
    this.#options.log.info("restarted container", { namespace, id, count });
    return "done";
  }

  #waits(namespace: string, id: string, watched: Watched): void {
    const { log, longWaitMs = LONG_WAIT_MS } = this.#options;
    log.debug(`waiting for ${watched.waitingFor.join(", ")}`, { namespace, id });
    watched.longWait ??= setTimeout(() => {
      const what = watched.waitingFor.join(", ");
      if (what !== "")
        log.warn(`not started after ${longWaitMs / 1000} s: it still waits for ${what}`, { namespace, id });
    }, longWaitMs);
    watched.longWait.unref();
  }

  get #isOver(): boolean {
    return this.#isHalted || this.#controller.signal.aborted;
  }

  async #needOf(namespace: string, { id, labels }: ContainerRecord, watched: Watched): Promise<Need> {
    const desired = labels[restartLabels.status];
    const { status, exitStatus } = await this.#statusOf(namespace, id);
    if (desired === "stopped") return status === undefined || status === Status.STOPPED ? undefined : "stop";
    if (desired !== "running" && !watched.isForced) return undefined;
    if (status === Status.RUNNING || status === Status.PAUSED || status === Status.PAUSING) return undefined;
    const exit = status === Status.STOPPED ? exitStatus : (watched.exitStatus ?? lastExitOf(labels));
    if (watched.isForced || (exit === undefined && isFirstStart(labels))) return "start";
    const { yes, problem } = shouldRestart(labels, exit);
    if (problem !== undefined) this.#options.log.error(`policy reconcile: ${problem}`, { namespace, id });
    this.#giveUp(namespace, id, watched, !yes && hasGivenUp(labels, exit));
    return yes ? "start" : undefined;
  }

  #giveUp(namespace: string, id: string, watched: Watched, isIt: boolean): void {
    if (isIt && !watched.hasGivenUp) {
      this.#options.log.warn("its restart policy has no start left: it stays as it is", { namespace, id });
    }
    watched.hasGivenUp = isIt;
  }

  /** The status of a container's task; undefined without a task, and RUNNING when its shim does not answer. */
  async #statusOf(namespace: string, id: string): Promise<{ status: number | undefined; exitStatus: number }> {
    const task = this.#options.tasks.find(namespace, id);
    if (task === undefined) return { status: undefined, exitStatus: 0 };
    try {
      return await task.state("");
    } catch (error) {
      return { status: isNotFound(error) ? undefined : Status.RUNNING, exitStatus: 0 };
    }
  }

  #find(namespace: string, id: string): ContainerRecord | undefined {
    try {
      return this.#options.containers.get(namespace, id);
    } catch {
      return undefined;
    }
  }
}

function keyOf(namespace: string, id: string): string {
  return `${namespace}/${id}`;
}
