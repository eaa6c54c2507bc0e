/**
 * The tasks of a daemon: which there are, and how they come and go (core/runtime/v2/{task,shim}_manager.go).
 *
 * Invariants: a task is in the table from its creation until it was deleted or its shim's death was told. Of the end of a
 * container subscribers are told once, by the shim, or in its place by the daemon. Whatever is left of a shim is cleaned
 * up before its id can be used again. No call waits for another task's.
 */

import { alreadyExists, ContainerdError, messageOf, notFound } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import type { Envelope, Exchange } from "../event/exchange.ts";
import type { Log } from "../log/log.ts";
import { Adoption } from "./adoption.ts";
import { Bundle, type BundleRoots } from "./bundle.ts";
import { Burials, keyOf } from "./burials.ts";
import { type Exit, unknownEnd } from "./exit.ts";
import { Holds } from "./holds.ts";
import type { Caller } from "./launch.ts";
import { fieldsOf, type Opening, openInSandbox, openNew, prefixed } from "./open.ts";
import type { ShimPool } from "./pool.ts";
import type { Programs } from "./program.ts";
import { ShimClosedError } from "./shim.ts";
import { isNotFound, type NewTask, type Task } from "./task.ts";
import { type News, observe, tellEnd } from "./telling.ts";

/** What a manager works with. */
export interface ManagerOptions {
  readonly roots: BundleRoots;
  readonly caller: Caller;
  readonly programs: Programs;
  readonly pool?: ShimPool | undefined;
  readonly exchange: Pick<Exchange, "forward" | "forwardMissed">;
  readonly log: Log;
}

/** A shim that was told to end closes its connection within this; another serves more containers of its group. */
const CLOSE_MS = 200;
/** At the daemon's end clean-ups under way have this long. */
const STOP_MS = 3_000;

/** The tasks of one daemon. */
export class TaskManager {
  readonly #options: ManagerOptions;
  readonly #tasks = new Map<string, Task>();
  /** Creates under way, which end and never reject, and whether their callers have gone. */
  readonly #creating = new Map<
    string,
    { readonly ended: Promise<unknown>; readonly signal: AbortSignal | undefined }
  >();
  /** Clean-ups under way. */
  readonly #holds = new Holds();
  readonly #burials: Burials;
  readonly #adoption: Adoption;
  #isStopping = false;

  constructor(options: ManagerOptions) {
    this.#options = options;
    this.#burials = new Burials(options, this.#holds);
    this.#adoption = new Adoption(
      { ...options, burials: this.#burials, holds: this.#holds },
      {
        add: (task) => this.add(task),
        remove: (task) => this.#remove(task),
        isInUse: (key) => this.#tasks.has(key) || this.#creating.has(key),
      },
    );
  }

  /**
   * Makes a bundle, starts a shim for it and creates the container in it.
   * @param signal aborted when the caller has gone: then nothing is left either
   * @returns the pid of init
   * @throws ContainerdError AlreadyExists; Unknown with what went wrong, and then nothing is left
   */
  async create(namespace: string, id: string, wanted: NewTask, signal?: AbortSignal): Promise<number> {
    const key = keyOf({ namespace, id });
    for (let other = this.#creating.get(key); other !== undefined; other = this.#creating.get(key)) {
      // One that nobody waits for leaves nothing behind.
      if (other.signal?.aborted !== true) throw taskExists(id);
      await other.ended;
    }
    if (this.#tasks.has(key) && this.#adoption.of(key) === undefined) throw taskExists(id);
    const work = this.#create(new Bundle(this.#options.roots, namespace, id), wanted, signal);
    this.#creating.set(key, { ended: work.catch(() => undefined), signal });
    try {
      return await work;
    } finally {
      this.#creating.delete(key);
    }
  }

  async #create(bundle: Bundle, wanted: NewTask, signal: AbortSignal | undefined): Promise<number> {
    const key = keyOf(bundle);
    // What was here before goes first; it may turn out to be alive.
    await this.#adoption.of(key);
    await this.#holds.free(key);
    if (this.#tasks.has(key)) throw taskExists(bundle.id);
    const failed = (error: unknown): never => {
      throw prefixed("failed to start shim", error);
    };
    await this.#burials.finish(key).catch(failed);
    const task = await this.#start(bundle, wanted).catch(failed);
    this.add(task);
    try {
      const pid = await task.create(wanted);
      // Nobody would know of it, or take it away.
      if (signal?.aborted) throw new ContainerdError(Code.Canceled, "context canceled");
      return pid;
    } catch (error) {
      this.#tasks.delete(key);
      await this.#undo(task);
      throw prefixed("failed to create shim task", error);
    }
  }

  async #start(bundle: Bundle, wanted: NewTask): Promise<Task> {
    const { programs, caller, log, pool } = this.#options;
    const program = programs.resolve(wanted.runtime);
    await bundle.create(wanted.spec);
    const opening: Opening = { bundle, program, caller, log, pool };
    try {
      const { sandbox } = wanted;
      if (sandbox !== undefined) return await openInSandbox(opening, sandbox.id, sandbox.endpoint);
      return await openNew(opening, wanted.options);
    } catch (error) {
      await bundle.remove().catch((left: unknown) => log.error(messageOf(left), fieldsOf(bundle)));
      throw error;
    }
  }

  /** Takes what a failed Create has left away. */
  async #undo(task: Task): Promise<void> {
    const key = keyOf(task);
    if (task.shim.isOpen) {
      task.isReleased = true;
      await task.shim.call("Delete", { id: task.id }).catch(() => undefined);
      this.#holds.hold(key, this.#release(task));
    }
    await this.#holds.free(key);
  }

  /** Takes a task into the table, and watches its connection. */
  add(task: Task): void {
    const key = keyOf(task);
    this.#tasks.set(key, task);
    void task.shim.closed.then(() => {
      if (!task.isReleased && !this.#isStopping) this.#holds.hold(key, this.#died(task));
    });
  }

  /**
   * Begins to look at the bundles that an earlier daemon has left. Returns at once; whoever asks for one of their tasks
   * waits until it is known.
   * @param runtimeOf the runtime of a container by its record; undefined when there is none
   */
  load(runtimeOf: (namespace: string, id: string) => string | undefined): void {
    this.#adoption.begin(runtimeOf);
  }

  /** Resolves when all bundles of an earlier daemon have been looked at. */
  get loaded(): Promise<void> {
    return this.#adoption.ended;
  }

  /**
   * The task of a container.
   * @throws ContainerdError NotFound
   */
  async get(namespace: string, id: string): Promise<Task> {
    const key = keyOf({ namespace, id });
    let task = this.#tasks.get(key);
    const loading = task === undefined ? this.#adoption.of(key) : undefined;
    if (loading !== undefined) {
      await loading;
      task = this.#tasks.get(key);
    }
    if (task === undefined) throw notFound(`task ${id} not found`);
    return task;
  }

  /** The task of a container, if it is known at this moment. */
  find(namespace: string, id: string): Task | undefined {
    return this.#tasks.get(keyOf({ namespace, id }));
  }

  /** The tasks of a namespace, or of all, by id. */
  async list(namespace?: string): Promise<Task[]> {
    await this.loaded;
    const all = [...this.#tasks.values()];
    const own = namespace === undefined ? all : all.filter((task) => task.namespace === namespace);
    return own.sort((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0));
  }

  /**
   * Deletes a task that has ended or was never started. It goes on when its caller has gone; who asks meanwhile gets the
   * same answer (R05).
   * @throws ContainerdError with what the shim says against it
   */
  delete(task: Task): Promise<Exit> {
    task.deleting ??= this.#delete(task).catch((error: unknown) => {
      task.deleting = undefined;
      throw error instanceof ShimClosedError ? error : prefixed("failed to delete task", error);
    });
    return task.deleting;
  }

  async #delete(task: Task): Promise<Exit> {
    const key = keyOf(task);
    const creating = this.#creating.get(key);
    if (creating !== undefined) {
      // Until then its shim does not know the container, and cannot let go of it either.
      await creating.ended;
      if (this.#tasks.get(key) !== task) throw notFound(`task ${task.id} not found`);
    }
    try {
      const { pid, exitStatus, exitedAt } = await task.shim.call("Delete", { id: task.id });
      const exit = { pid, status: exitStatus, at: exitedAt ?? undefined };
      this.#remove(task);
      task.deleted("", exit);
      return exit;
    } catch (error) {
      // Its death is told and cleaned up after; what it would have answered comes out of that.
      if (error instanceof ShimClosedError) return await task.buried.promise;
      if (isNotFound(error)) this.#remove(task);
      throw error;
    }
  }

  #remove(task: Task): void {
    const key = keyOf(task);
    task.isReleased = true;
    if (this.#tasks.get(key) === task) this.#tasks.delete(key);
    this.#holds.hold(key, this.#release(task));
  }

  /** Ends a shim whose container is deleted, and takes away what is left. Never rejects. */
  async #release(task: Task): Promise<void> {
    const { log } = this.#options;
    if (task.sandbox === "") {
      await task.shim.call("Shutdown", { id: task.id }).catch((error: unknown) => {
        if (!(error instanceof ShimClosedError)) log.error(`shutdown of shim: ${messageOf(error)}`, fieldsOf(task));
      });
      await Promise.race([task.shim.closed, Bun.sleep(CLOSE_MS)]);
    }
    task.shim.close();
    const exit = await this.#burials.bury(task).catch(() => undefined);
    task.buried.resolve(task.exit ?? exit ?? unknownEnd());
  }

  /** The connection of a shim was closed, and nobody had asked for it. Never rejects. */
  async #died(task: Task): Promise<void> {
    const { log } = this.#options;
    const key = keyOf(task);
    log.warn("cleaning up after shim disconnected", fieldsOf(task));
    const isTold = task.exit !== undefined || (task.isFound && (await task.bundle.isTold()));
    const found = await this.#burials.bury(task).catch(() => undefined);
    const exit: Exit = found ?? task.exit ?? unknownEnd();
    // A task that was not created, or is deleted, is no news.
    if (this.#tasks.get(key) === task) {
      this.#tasks.delete(key);
      tellEnd(this.#options, task, exit, { withExit: !isTold && task.exit === undefined, isFound: task.isFound });
    }
    task.buried.resolve(task.exit ?? exit);
  }

  /** {@link observe} with the tasks of this daemon. */
  observe(envelope: Envelope): News {
    return observe(envelope, (namespace, id) => this.find(namespace, id) ?? this.#adoption.coming(namespace, id));
  }

  /** Lets go of all shims, which live on; clean-ups under way have a moment to come to their end. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#burials.stop();
    await Promise.race([this.#holds.settled(), Bun.sleep(STOP_MS)]);
    for (const task of this.#tasks.values()) {
      task.shim.close();
      task.stopLog();
    }
    this.#tasks.clear();
  }
}

function taskExists(id: string): Error {
  return alreadyExists(`task ${id}: already exists`);
}
