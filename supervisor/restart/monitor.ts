/**
 * Keeps containers in the state that their labels ask for: containerd's restart monitor (plugins/restart), driven by
 * what happens and not by a clock that looks every ten seconds.
 *
 * Invariants: one attempt at a time for each container, and one timer at most; what an attempt does is decided when it
 * begins, from the labels and the task of that moment. A client that has just made, labelled or deleted something is left
 * in peace for as long as containerd's monitor would sleep: it may be about to start or to stop the task itself.
 */

import { messageOf } from "../../proto/errdefs.ts";
import { containerd } from "../../proto/gen/supervisor.js";
import type { Envelope, Exchange } from "../event/exchange.ts";
import type { Log } from "../log/log.ts";
import type { TaskManager } from "../task/manager.ts";
import { isNotFound } from "../task/task.ts";
import { Backoff, type BackoffSettings } from "./backoff.ts";
import { countOf, restartLabels, shouldRestart } from "./policy.ts";
import { type ContainerRecord, type StartOptions, startContainer, stopContainer } from "./start.ts";

const { Status } = containerd.v1.types;
const { TaskExit, TaskStart, TaskDelete, ContainerCreate, ContainerUpdate, ContainerDelete } = containerd.events;

/** Filters of what the monitor follows. */
const topics = [`topic=="/tasks/start"`, `topic=="/tasks/exit"`, `topic=="/tasks/delete"`, "topic~=|^/containers/|"];
/** Clients are left in peace this long, in milliseconds: the interval of containerd's monitor. */
const GRACE_MS = 10_000;

/** At the daemon's end attempts under way have this long. */
const STOP_MS = 3_000;

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
  /** Other than {@link GRACE_MS}, for tests. */
  readonly graceMs?: number;
}

/** What is known of one container. */
interface Watched {
  readonly backoff: Backoff;
  /** When its task began to run; undefined when that was before us. */
  startedAt: number | undefined;
  exitStatus: number | undefined;
  /** No start before this, whatever else happens: the wait that the container's ends and failures have earned. */
  notBefore: number;
  timer: ReturnType<typeof setTimeout> | undefined;
  /** When the timer goes off. */
  due: number;
  isAtWork: boolean;
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

  constructor(options: MonitorOptions) {
    this.#options = options;
    this.#graceMs = options.graceMs ?? GRACE_MS;
  }

  /** Begins; what an earlier daemon has left is looked at as soon as it is known. */
  start(): void {
    void this.#run().catch((error: unknown) => this.#options.log.error(`restart monitor: ${messageOf(error)}`));
  }

  /** Ends. Attempts under way come to their end. */
  async stop(): Promise<void> {
    this.#controller.abort();
    for (const watched of this.#watched.values()) clearTimeout(watched.timer);
    this.#watched.clear();
    await Promise.race([Promise.all(this.#work), Bun.sleep(STOP_MS)]);
  }

  async #run(): Promise<void> {
    const { signal } = this.#controller;
    const { tasks, exchange, log } = this.#options;
    await tasks.loaded;
    while (!signal.aborted) {
      const events = exchange.subscribe(topics, signal);
      await this.#considerAll();
      try {
        for await (const event of events) this.#saw(event);
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

  #saw({ namespace: given, topic, event }: Envelope): void {
    const namespace = given ?? "";
    const value = event?.value ?? new Uint8Array(0);
    const later = (id: string, delay: (watched: Watched) => number): void => {
      const work = this.#consider(namespace, id, delay).catch((error: unknown) =>
        this.#options.log.error(`restart of ${id}: ${messageOf(error)}`, { namespace }),
      );
      this.#work.add(work);
      void work.finally(() => this.#work.delete(work));
    };
    switch (topic) {
      case "/tasks/start": {
        const watched = this.#watched.get(keyOf(namespace, TaskStart.decode(value).containerId));
        if (watched !== undefined) watched.startedAt = performance.now();
        break;
      }
      case "/tasks/exit": {
        const { containerId, id, exitStatus } = TaskExit.decode(value);
        if (id !== containerId) break;
        later(containerId, (watched) => {
          watched.exitStatus = exitStatus;
          watched.backoff.ran(watched.startedAt === undefined ? undefined : performance.now() - watched.startedAt);
          return backOff(watched);
        });
        break;
      }
      case "/tasks/delete":
        later(TaskDelete.decode(value).containerId, () => this.#graceMs);
        break;
      case "/containers/create":
        later(ContainerCreate.decode(value).id, () => this.#graceMs);
        break;
      case "/containers/update":
        later(ContainerUpdate.decode(value).id, () => this.#graceMs);
        break;
      case "/containers/delete":
        this.#forget(keyOf(namespace, ContainerDelete.decode(value).id));
        break;
    }
  }

  #forget(key: string): void {
    clearTimeout(this.#watched.get(key)?.timer);
    this.#watched.delete(key);
  }

  /** Looks at a container, and sets its timer when it needs something. */
  async #consider(namespace: string, id: string, delay: (watched: Watched) => number): Promise<void> {
    const key = keyOf(namespace, id);
    const container = this.#find(namespace, id);
    if (container === undefined || !Object.hasOwn(container.labels, restartLabels.status)) {
      this.#forget(key);
      return;
    }
    let watched = this.#watched.get(key);
    if (watched === undefined) {
      watched = {
        backoff: new Backoff(this.#options.backoff),
        startedAt: undefined,
        exitStatus: undefined,
        notBefore: 0,
        timer: undefined,
        due: 0,
        isAtWork: false,
      };
      this.#watched.set(key, watched);
    }
    const wait = delay(watched);
    const need = await this.#needOf(namespace, container, watched);
    if (this.#watched.get(key) !== watched) return;
    if (need === undefined) {
      clearTimeout(watched.timer);
      watched.timer = undefined;
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
    const { log } = this.#options;
    if (watched.isAtWork || this.#controller.signal.aborted) return;
    watched.isAtWork = true;
    let hasFailed = false;
    try {
      const container = this.#find(namespace, id);
      const need = container === undefined ? undefined : await this.#needOf(namespace, container, watched);
      if (container === undefined || need === undefined) return;
      if (need === "stop") {
        await stopContainer(namespace, id, this.#options);
      } else {
        const count = countOf(container.labels) + 1;
        const labels = { [restartLabels.count]: String(count) };
        await this.#options.containers.update(namespace, { id, labels }, [`labels.${restartLabels.count}`]);
        watched.exitStatus = undefined;
        await startContainer(namespace, container, this.#options);
        watched.startedAt ??= performance.now();
        log.info("restarted container", { namespace, id, count });
      }
    } catch (error) {
      hasFailed = true;
      log.error(`restart monitor: ${messageOf(error)}`, { namespace, id });
    } finally {
      watched.isAtWork = false;
    }
    if (this.#watched.get(keyOf(namespace, id)) !== watched || this.#controller.signal.aborted) return;
    // What happened while we were at work was not followed: look once more. An end has set its own wait.
    const hasEnded = watched.exitStatus !== undefined;
    const wait = hasFailed ? backOff(watched) : hasEnded ? 0 : this.#graceMs;
    await this.#consider(namespace, id, () => wait).catch(() => undefined);
  }

  async #needOf(namespace: string, { id, labels }: ContainerRecord, watched: Watched): Promise<Need> {
    const desired = labels[restartLabels.status];
    const { status, exitStatus } = await this.#statusOf(namespace, id);
    if (desired === "stopped") return status === undefined || status === Status.STOPPED ? undefined : "stop";
    if (desired !== "running") return undefined;
    if (status === Status.RUNNING || status === Status.PAUSED || status === Status.PAUSING) return undefined;
    const { yes, problem } = shouldRestart(labels, status === undefined ? watched.exitStatus : exitStatus);
    if (problem !== undefined) this.#options.log.error(`policy reconcile: ${problem}`, { namespace, id });
    return yes ? "start" : undefined;
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

/** The wait before the next start. */
function backOff(watched: Watched): number {
  const wait = watched.backoff.next();
  watched.notBefore = performance.now() + wait;
  return wait;
}

function keyOf(namespace: string, id: string): string {
  return `${namespace}/${id}`;
}
