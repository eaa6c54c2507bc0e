/** Processes that work on trees of files in the daemon's place. */

import { join } from "node:path";
import type { SnapshotMount, Usage } from "../snapshotter.ts";

/** Longer than any disk that works takes. */
const DEADLINE_MS = 3_600_000;
/** At once, at most: the disk is not made faster by more. */
const MAX_PROCESSES = 2;

let running = 0;
const waiting: Array<() => void> = [];

/** Brings the file system of a directory to disk. @throws Error when that failed: what was written may be lost */
export async function syncTree(directory: string): Promise<void> {
  await run("sync", [directory]);
}

/** Copies a tree into an empty directory, and brings the copy to disk. @throws Error */
export async function copyTree(from: string, to: string): Promise<void> {
  await run("copy", [from, to]);
}

/** Counts what a tree takes, whatever its names and its depth. @throws Error */
export async function usageOfTree(directory: string, signal?: AbortSignal): Promise<Usage> {
  return JSON.parse(await run("usage", [directory], signal)) as Usage;
}

/** Makes a mount on an empty directory; a `loop` on nothing. @throws Error */
export async function makeMount(mount: SnapshotMount, target: string): Promise<void> {
  await run("mount", [JSON.stringify(mount), target]);
}

/** Takes mounts away, in this order; those that are gone are fine. @throws Error */
export async function removeMounts(targets: readonly string[]): Promise<void> {
  if (targets.length > 0) await run("unmount", targets);
}

async function run(action: string, paths: readonly string[], signal?: AbortSignal): Promise<string> {
  if (running >= MAX_PROCESSES) await new Promise<void>((resolve) => waiting.push(resolve));
  else running++;
  try {
    const child = Bun.spawn([...program(), "tree", action, String(process.pid), ...paths], {
      cwd: "/",
      env: {},
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      timeout: DEADLINE_MS,
      killSignal: "SIGKILL",
      ...(signal && { signal }),
    });
    const [output, complaint, status] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    signal?.throwIfAborted();
    if (status !== 0) throw new TreeError(action, paths, complaint.trim() || `exit status ${status}`);
    return output;
  } finally {
    const next = waiting.shift();
    if (next === undefined) running--;
    else next();
  }
}

/** The command line of this program, from the compiled executable or from source. */
function program(): string[] {
  const isCompiled = import.meta.dir.startsWith("/$bunfs");
  return isCompiled ? [process.execPath] : [process.execPath, join(import.meta.dir, "../../../shim/main.ts")];
}

/** Work on a tree that failed. */
class TreeError extends Error {
  override readonly name = "TreeError";
  /** Such as ENOSPC, as errors of the file system have it. */
  readonly code: string | undefined;

  constructor(action: string, paths: readonly string[], complaint: string) {
    // Calls about mounts name what they are about themselves.
    super(action.endsWith("mount") ? complaint : `${action} ${paths.join(" to ")}: ${complaint}`);
    if (/no space left|quota exceeded/i.test(complaint)) this.code = "ENOSPC";
    // Whatever syncing says but that: something was not written.
    else this.code = complaint.includes("syncfs") ? "EIO" : undefined;
  }
}
