/** What is left when a shim is gone, and cleaning it up. */

import { mkdir, stat } from "node:fs/promises";
import { messageOf } from "../../proto/errdefs.ts";
import type { Log } from "../log/log.ts";
import type { Exit } from "./exit.ts";
import { type Caller, deleteShim } from "./launch.ts";
import { fieldsOf, textOf } from "./open.ts";
import type { Task } from "./task.ts";

/** What is left of a shim. */
export interface Remains extends Pick<Task, "bundle" | "program" | "sandbox"> {
  /** Stops reading the shim's log. */
  readonly stopLog?: () => void;
}

/** What cleaning up needs. */
export interface BurialOptions {
  readonly caller: Caller;
  readonly log: Log;
}

/**
 * Cleans up after a task's shim: by its binary call `delete`, then the bundle goes. A shim of ours that has written down
 * that it deleted the container, and has removed its socket, has left nothing: `delete` would look at the same two files.
 * A container in a sandbox is the sandbox's to clean up (DL-7).
 * @returns how the container ended, where that is told
 * @throws Error when something is left; the bundle stays, so that it can be tried again
 */
export async function bury(task: Remains, { caller, log }: BurialOptions): Promise<Exit | undefined> {
  const { bundle, program, sandbox } = task;
  let exit = program.isOwn ? await ownEnd(bundle.path) : undefined;
  if (sandbox === "" && exit === undefined) {
    const warn = (text: string): void =>
      log.warn("warnings while cleaning up dead shim", { ...fieldsOf(bundle), warnings: text.trim() });
    // The call is made in the bundle; what somebody has removed must not keep the container from being cleaned up after.
    await mkdir(bundle.path, { recursive: true, mode: 0o700 });
    exit = await deleteShim(program, caller, bundle, warn);
  }
  await bundle.remove();
  return exit;
}

/** How the container of a shim of ours ended that came to its own end properly; undefined when it did not. */
async function ownEnd(path: string): Promise<Exit | undefined> {
  try {
    const record = JSON.parse((await textOf(`${path}/exitstatus.json`)) ?? "null") as Partial<ExitRecord> | null;
    if (record?.deleted !== true) return undefined;
    const address = ((await textOf(`${path}/address`)) ?? "").trim();
    if (address.startsWith("unix:///") && (await exists(address.slice("unix://".length)))) return undefined;
    const { pid = 0, exitStatus = 0, exitedAt = 0 } = record;
    const at = { seconds: Math.floor(exitedAt / 1000), nanos: (exitedAt % 1000) * 1_000_000 };
    return { pid, status: exitStatus, at };
  } catch {
    return undefined;
  }
}

/** exitstatus.json, as the shim writes it. */
interface ExitRecord {
  readonly pid: number;
  readonly exitStatus: number;
  /** Milliseconds since the epoch. */
  readonly exitedAt: number;
  readonly deleted: boolean;
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw new Error(`${path}: ${messageOf(error)}`);
  }
}
