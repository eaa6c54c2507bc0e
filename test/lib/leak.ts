/** What our runs hold on the machine, as one set of lines: what a test adds to it and does not take away is a leak. */

import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { findCgroups } from "./cgroup.ts";
import type { Daemon } from "./daemon.ts";
import { ownDescriptors } from "./process.ts";
import type { Scope } from "./scope.ts";
import { findMounts, findProcesses, findSharedFiles } from "./sweep.ts";
import { waitFor } from "./wait.ts";

/**
 * Everything there is now that belongs to the scope.
 * @param daemon whose directories to look into
 * @param ids containers whose sockets to look for
 * @param expected processes that are there for the tests themselves
 */
export function inventory(
  scope: Scope,
  daemon?: Daemon,
  ids: Iterable<string> = [],
  expected: readonly (number | undefined)[] = [],
): Set<string> {
  const words = [scope.token, scope.dir];
  const found = new Set<string>();
  for (const p of findProcesses(words)) {
    if (expected.includes(p.pid)) continue;
    found.add(`process ${p.pid} started at ${p.startTime}: ${p.argv.join(" ") || p.comm}`);
  }
  for (const path of findMounts(words)) found.add(`mount ${path}`);
  // The namespace's own cgroup stays with every runtime; it goes with the scope.
  for (const path of findCgroups(words)) if (!path.endsWith(daemon?.namespace ?? " ")) found.add(`cgroup ${path}`);
  for (const path of findSharedFiles(words)) for (const name of list(path)) found.add(`file ${join(path, name)}`);
  if (daemon) {
    for (const id of ids) {
      for (const end of ["", "/debug"]) {
        const path = daemon.socketPath(id + end);
        if (existsSync(path)) found.add(`socket ${path} (of ${id}${end})`);
      }
    }
    for (const dir of [daemon.state, daemon.root]) {
      const bundles = join(dir, "io.containerd.runtime.v2.task", daemon.namespace);
      for (const name of list(bundles)) found.add(`bundle ${join(bundles, name)}`);
    }
    for (const dir of [daemon.fifoDir, join(daemon.dir, "tmp")]) {
      for (const name of list(dir)) found.add(`file ${join(dir, name)}`);
    }
  }
  const counts = new Map<string, number>();
  for (const target of ownDescriptors().values()) {
    if (target.startsWith("anon_inode:") || target.startsWith("/proc/")) continue;
    // Sockets and pipes are counted by kind: a daemon that was started anew has others, but as many.
    const kind = target.replace(/:\[\d+\]$/, "");
    const count = (counts.get(kind) ?? 0) + 1;
    counts.set(kind, count);
    found.add(`descriptor: ${kind} number ${count}`);
  }
  return found;
}

function list(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}

/**
 * Waits until nothing is there that was not there before.
 * @param timeout in milliseconds: a shim may need a moment to end after its container is gone
 * @throws Error with a line for each thing left
 */
export async function expectNoLeak(before: Set<string>, now: () => Set<string>, timeout = 5_000): Promise<void> {
  let left: string[] = [];
  try {
    await waitFor(
      "everything to be gone",
      () => {
        left = [...now()].filter((item) => !before.has(item));
        if (left.some((item) => item.startsWith("descriptor"))) Bun.gc(true);
        return left.length === 0;
      },
      { timeout, interval: 25 },
    );
  } catch {
    throw new Error(`left behind:\n  ${left.join("\n  ")}`);
  }
}
