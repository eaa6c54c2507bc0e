/** Taking over what an earlier daemon has left: a shim that lives, or the end of one that does not. */

import { messageOf } from "../../proto/errdefs.ts";
import { containerd } from "../../proto/gen/supervisor.js";
import type { Exchange } from "../event/exchange.ts";
import type { Log } from "../log/log.ts";
import { Bundle, type BundleRoots } from "./bundle.ts";
import { type Burials, keyOf } from "./burials.ts";
import type { Holds } from "./holds.ts";
import type { Caller } from "./launch.ts";
import { Limit } from "./limit.ts";
import { findBundles, inspect, sweep } from "./load.ts";
import { fieldsOf, type Opening, openFound, textOf } from "./open.ts";
import type { Programs } from "./program.ts";
import { isNotFound, type Task } from "./task.ts";
import { type Told, tellEnd } from "./telling.ts";

/** What taking over needs. */
export interface AdoptionOptions {
  readonly roots: BundleRoots;
  readonly holds: Holds;
  readonly caller: Caller;
  readonly programs: Programs;
  readonly burials: Pick<Burials, "bury" | "has">;
  readonly exchange: Pick<Exchange, "forward" | "forwardMissed">;
  readonly log: Log;
}

/** Who takes over. */
export interface Heir {
  /** Takes a task into the table. */
  add(task: Task): void;
  /** Takes one out again, whose container is deleted. */
  remove(task: Task): void;
  /** True for the id of a task that is there, or comes. */
  isInUse(key: string): boolean;
}

/** Bundles that are looked at side by side. */
const CONCURRENCY = 32;

/** The taking over of one daemon. */
export class Adoption {
  readonly #options: AdoptionOptions;
  readonly #heir: Heir;
  /** Bundles that are being looked at. */
  readonly #underWay = new Map<string, Promise<unknown>>();
  /** What events told of those meanwhile: a shim that hears of a new daemon may be faster than we are. */
  readonly #coming = new Map<string, Told>();
  /** Resolves when all bundles have been looked at. */
  ended: Promise<void> = Promise.resolve();

  constructor(options: AdoptionOptions, heir: Heir) {
    this.#options = options;
    this.#heir = heir;
  }

  /**
   * Begins to look at all bundles; returns at once.
   * @param runtimeOf the runtime of a container by its record; undefined when there is none
   */
  begin(runtimeOf: (namespace: string, id: string) => string | undefined): void {
    const { roots, log } = this.#options;
    const limit = new Limit(CONCURRENCY);
    for (const [namespace, id] of findBundles(roots)) {
      const bundle = new Bundle(roots, namespace, id);
      const key = keyOf(bundle);
      const work = limit
        .run(() => this.#adopt(bundle, runtimeOf(namespace, id)))
        .catch((error: unknown) => log.error(`loading task: ${messageOf(error)}`, fieldsOf(bundle)))
        .finally(() => {
          this.#underWay.delete(key);
          this.#coming.delete(key);
        });
      this.#underWay.set(key, work);
      this.#coming.set(key, { bundle, exit: undefined, isFound: true });
    }
    this.ended = Promise.all(this.#underWay.values()).then(() => this.#sweep());
  }

  /** Resolves when it is known what the bundle of an id is; undefined when that is known already. */
  of(key: string): Promise<unknown> | undefined {
    return this.#underWay.get(key);
  }

  /** What is known of a task that may be taken over, as long as that is not known. */
  coming(namespace: string, id: string): Told | undefined {
    return this.#coming.get(keyOf({ namespace, id }));
  }

  async #adopt(bundle: Bundle, runtime: string | undefined): Promise<void> {
    const task = await openBundle(bundle, runtime, this.#options);
    if (task === undefined) return;
    task.exit ??= this.#coming.get(keyOf(bundle))?.exit;
    this.#heir.add(task);
    if (!(await isLeaked(task, runtime !== undefined, this.#options.log))) return;
    await task.shim.call("Delete", { id: task.id }).catch(() => undefined);
    this.#heir.remove(task);
  }

  async #sweep(): Promise<void> {
    const { roots, holds, burials, log } = this.#options;
    await holds.settled();
    const take = async (namespace: string, id: string, remove: () => Promise<void>): Promise<void> => {
      const key = keyOf({ namespace, id });
      if (this.#heir.isInUse(key) || holds.has(key) || burials.has(key)) return;
      const work = remove();
      holds.hold(
        key,
        work.catch(() => undefined),
      );
      await work;
    };
    await sweep(roots, take).catch((error: unknown) => log.error(`sweeping bundles: ${messageOf(error)}`));
  }
}

/**
 * Connects to the shim of a bundle. Where none answers, what is left of it is cleaned up, and the end of its container
 * told.
 * @param runtime of the container's record; undefined when there is none
 * @returns undefined when there is no shim; then the bundle is gone
 * @throws Error when something is left that cannot be cleaned up
 */
async function openBundle(
  bundle: Bundle,
  runtime: string | undefined,
  options: AdoptionOptions,
): Promise<Task | undefined> {
  const { programs, caller, log } = options;
  const program = await inspect(bundle, runtime, programs);
  if (program === "empty" || program === "forgotten") {
    await bundle.remove();
    return undefined;
  }
  const opening: Opening = { bundle, program, caller, log };
  try {
    const task = await openFound(opening);
    task.isFound = true;
    return task;
  } catch (error) {
    log.warn(`shim is gone: ${messageOf(error)}`, fieldsOf(bundle));
  }
  const sandbox = (await textOf(bundle.file("sandbox"))) ?? "";
  const withExit = !(await bundle.isTold());
  const exit = await options.burials.bury({ bundle, program, sandbox });
  if (exit !== undefined) tellEnd(options, bundle, exit, { withExit, isFound: true });
  return undefined;
}

/**
 * Asks a shim that answers about its container. One without a container was left in the middle of a Create, one whose
 * container has ended and has no record can never be deleted by anybody (R06). Silence says nothing (R07).
 */
async function isLeaked(task: Task, hasRecord: boolean, log: Log): Promise<boolean> {
  try {
    const { status } = await task.shim.call("State", { id: task.id });
    if (hasRecord || status !== containerd.v1.types.Status.STOPPED) return false;
  } catch (error) {
    if (!isNotFound(error)) {
      log.warn(`shim does not say what it does: ${messageOf(error)}`, fieldsOf(task));
      return false;
    }
  }
  log.info("cleaning leaked shim process", fieldsOf(task));
  return true;
}
