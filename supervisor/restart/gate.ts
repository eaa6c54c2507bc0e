/** Which containers must wait for others before they start, and for what. */

import { containerd } from "../../proto/gen/supervisor.js";
import type { HealthStatus } from "../container/health.ts";
import { labels as names } from "../container/labels.ts";
import type { Log } from "../log/log.ts";
import type { TaskManager } from "../task/manager.ts";
import { cyclic, type Facts, parseDependencies, unmet } from "./dependencies.ts";
import { lastExitOf } from "./policy.ts";
import type { ContainerRecord } from "./start.ts";

const { Status } = containerd.v1.types;

/** What the gate asks. */
export interface GateOptions {
  readonly tasks: Pick<TaskManager, "find">;
  /** A container's record; undefined when there is none. */
  readonly find: (namespace: string, id: string) => ContainerRecord | undefined;
  /** The health of the task that a container has now; undefined when it has no check. */
  readonly health: (namespace: string, id: string) => HealthStatus | undefined;
  /** How the last run ended, as far as it was seen. */
  readonly lastExit: (namespace: string, id: string) => number | undefined;
  readonly log: Log;
}

/** The gate of one daemon. */
export class Gate {
  readonly #options: GateOptions;
  /** Who waits for a container: key of that container to ids of the same namespace. */
  readonly #waiters = new Map<string, Set<string>>();
  /** Problems that were told, so that each is told once. */
  readonly #told = new Map<string, string>();

  constructor(options: GateOptions) {
    this.#options = options;
  }

  /** What a container waits for, in words; empty when it may start. Until {@link leave} it is woken by {@link waiters}. */
  async unmet(namespace: string, container: ContainerRecord): Promise<string[]> {
    const { id, labels } = container;
    if (!Object.hasOwn(labels, names.dependsOn)) return [];
    const { dependencies, problem } = parseDependencies(labels);
    const ignored =
      dependencies.length === 0 ? new Set<string>() : cyclic(id, (of) => this.#dependenciesOf(namespace, of));
    const loop = `${[...ignored].join(", ")} and it wait for each other: none of them waits`;
    this.#tell(namespace, id, problem ?? (ignored.size > 0 ? loop : ""));
    const missing: string[] = [];
    for (const dependency of dependencies) {
      if (ignored.has(dependency.id)) continue;
      const what = unmet(dependency, await this.#facts(namespace, dependency.id));
      if (what === undefined) continue;
      missing.push(what);
      const key = `${namespace}/${dependency.id}`;
      const waiters = this.#waiters.get(key) ?? new Set();
      this.#waiters.set(key, waiters.add(id));
    }
    return missing;
  }

  /** Takes out who waits for a container: they are to be looked at again. */
  waiters(namespace: string, id: string): ReadonlySet<string> {
    const key = `${namespace}/${id}`;
    const found = this.#waiters.get(key) ?? new Set<string>();
    this.#waiters.delete(key);
    return found;
  }

  /** A container has gone. */
  forget(namespace: string, id: string): void {
    this.#told.delete(`${namespace}/${id}`);
  }

  /** The ids that a container waits for. */
  #dependenciesOf(namespace: string, id: string): readonly string[] {
    const container = this.#options.find(namespace, id);
    return container === undefined ? [] : parseDependencies(container.labels).dependencies.map((one) => one.id);
  }

  async #facts(namespace: string, id: string): Promise<Facts | undefined> {
    const { find, tasks, health, lastExit } = this.#options;
    const container = find(namespace, id);
    if (container === undefined) return undefined;
    const state = await tasks
      .find(namespace, id)
      ?.state("")
      .catch(() => undefined);
    const isRunning = state?.status === Status.RUNNING || state?.status === Status.PAUSED;
    const ended = state?.status === Status.STOPPED ? state.exitStatus : undefined;
    return {
      isRunning,
      health: isRunning ? health(namespace, id) : undefined,
      lastExit: ended ?? lastExit(namespace, id) ?? lastExitOf(container.labels),
    };
  }

  #tell(namespace: string, id: string, problem: string): void {
    const key = `${namespace}/${id}`;
    if ((this.#told.get(key) ?? "") === problem) return;
    this.#told.set(key, problem);
    if (problem !== "") this.#options.log.error(`dependencies: ${problem}`, { namespace, id });
  }
}
