/** Taking over what an earlier daemon has left: a shim that lives, or the end of one that does not. */

import { messageOf } from "../../proto/errdefs.ts";
import { containerd } from "../../proto/gen/supervisor.js";
import type { Exchange } from "../event/exchange.ts";
import type { Log } from "../log/log.ts";
import type { Bundle } from "./bundle.ts";
import { bury } from "./burial.ts";
import type { Caller } from "./launch.ts";
import { inspect } from "./load.ts";
import { fieldsOf, type Opening, openFound, textOf } from "./open.ts";
import type { Programs } from "./program.ts";
import { isNotFound, type Task } from "./task.ts";
import { tellEnd } from "./telling.ts";

/** What taking over needs. */
export interface AdoptionOptions {
  readonly caller: Caller;
  readonly programs: Programs;
  readonly exchange: Pick<Exchange, "forward" | "forwardMissed">;
  readonly log: Log;
}

/**
 * Connects to the shim of a bundle. Where none answers, what is left of it is cleaned up, and the end of its container
 * told.
 * @param runtime of the container's record; undefined when there is none
 * @returns undefined when there is no shim; then the bundle is gone
 * @throws Error when something is left that cannot be cleaned up
 */
export async function openBundle(
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
  const exit = await bury({ bundle, program, sandbox }, options);
  if (exit !== undefined) tellEnd(options, bundle, exit, { withExit, isFound: true });
  return undefined;
}

/**
 * Asks a shim that answers about its container. One without a container was left in the middle of a Create, one whose
 * container has ended and has no record can never be deleted by anybody (R06). Silence says nothing (R07).
 */
export async function isLeaked(task: Task, hasRecord: boolean, log: Log): Promise<boolean> {
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
