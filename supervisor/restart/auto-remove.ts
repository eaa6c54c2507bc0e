/**
 * Removes containers that are to go with their task (`run --rm`, label `berth/auto-remove`) where no client does it: it
 * runs in the background, was killed, or the machine lost its power.
 */

import { messageOf } from "../../proto/errdefs.ts";
import { containerd } from "../../proto/gen/supervisor.js";
import { labels as names } from "../container/labels.ts";
import type { Exchange } from "../event/exchange.ts";
import type { Log } from "../log/log.ts";
import type { TaskManager } from "../task/manager.ts";
import { isNotFound } from "../task/task.ts";
import { changeOf } from "./change.ts";
import type { ContainerRecord } from "./start.ts";

const { Status } = containerd.v1.types;
/** A client that is there does it itself within this time, in milliseconds. */
const GRACE_MS = 10_000;
/** After a failure, and then ever later up to an hour. */
const RETRY_MS = 60_000;
const MAX_RETRY_MS = 3_600_000;

/** What removing needs. */
export interface AutoRemoveOptions {
  readonly tasks: Pick<TaskManager, "find" | "loaded">;
  readonly containers: {
    get(namespace: string, id: string): ContainerRecord;
    list(namespace: string, filters?: readonly string[]): ContainerRecord[];
  };
  readonly namespaces: { list(): readonly { readonly name: string }[] };
  readonly exchange: Exchange;
  /** Takes a container away with all that was made for it. */
  readonly remove: (namespace: string, id: string) => Promise<void>;
  readonly log: Log;
  /** Other than {@link GRACE_MS}, for tests. */
  readonly graceMs?: number;
}

/** The removals of one daemon. */
export class AutoRemove {
  readonly #options: AutoRemoveOptions;
  readonly #timers = new Map<string, ReturnType<typeof setTimeout>>();
  readonly #controller = new AbortController();

  constructor(options: AutoRemoveOptions) {
    this.#options = options;
  }

  /** Begins; containers that an earlier daemon has left are looked at. */
  start(): void {
    void this.#run().catch((error: unknown) => this.#options.log.error(`auto-remove: ${messageOf(error)}`));
  }

  stop(): void {
    this.#controller.abort();
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }

  async #run(): Promise<void> {
    const { signal } = this.#controller;
    const { tasks, exchange, namespaces, containers, log } = this.#options;
    await tasks.loaded;
    while (!signal.aborted) {
      const events = exchange.subscribe([`topic=="/tasks/exit"`, `topic=="/containers/delete"`], signal);
      for (const { name } of namespaces.list()) {
        for (const { id } of containers.list(name, [`labels."${names.autoRemove}"==true`])) this.#plan(name, id);
      }
      try {
        for await (const event of events) {
          const change = changeOf(event);
          if (change?.kind === "removed") this.#forget(`${change.namespace}/${change.id}`);
          else if (change !== undefined && this.#isWanted(change.namespace, change.id))
            this.#plan(change.namespace, change.id);
        }
      } catch (error) {
        // Events were lost: look at everything again.
        log.warn(`auto-remove: ${messageOf(error)}`);
      }
    }
  }

  #isWanted(namespace: string, id: string): boolean {
    try {
      return this.#options.containers.get(namespace, id).labels[names.autoRemove] === "true";
    } catch {
      return false;
    }
  }

  #forget(key: string): void {
    clearTimeout(this.#timers.get(key));
    this.#timers.delete(key);
  }

  #plan(namespace: string, id: string, delay = this.#options.graceMs ?? GRACE_MS, failures = 0): void {
    const key = `${namespace}/${id}`;
    this.#forget(key);
    if (this.#controller.signal.aborted) return;
    const timer = setTimeout(() => {
      this.#timers.delete(key);
      void this.#remove(namespace, id, failures);
    }, delay);
    timer.unref();
    this.#timers.set(key, timer);
  }

  /** Removes a container that still wants it. Never rejects. */
  async #remove(namespace: string, id: string, failures: number): Promise<void> {
    const { tasks, remove, log } = this.#options;
    try {
      if (!this.#isWanted(namespace, id)) return;
      const state = await tasks.find(namespace, id)?.state("");
      // One that runs is looked at again when it ends.
      if (state !== undefined && state.status !== Status.STOPPED && state.status !== Status.CREATED) return;
      await remove(namespace, id);
      log.info("removed container that was to go with its task", { namespace, id });
    } catch (error) {
      if (isNotFound(error) && !this.#isWanted(namespace, id)) return;
      log.error(`cannot remove container: ${messageOf(error)}`, { namespace, id });
      this.#plan(namespace, id, Math.min(MAX_RETRY_MS, RETRY_MS * 2 ** failures), Math.min(failures + 1, 10));
    }
  }
}
