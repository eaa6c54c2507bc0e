/** Finding and removing everything on the machine that belongs to a token. All of it synchronous: exit handlers call it. */

import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { findCgroups, removeCgroups, thawCgroups } from "./cgroup.ts";
import { allProcesses, childrenOf, type ProcessInfo, traces } from "./process.ts";

/** Processes that carry one of the words, and all that descend from them; never this process or its ancestors. */
export function findProcesses(words: readonly string[]): ProcessInfo[] {
  const all = allProcesses();
  const byPid = new Map(all.map((p) => [p.pid, p]));
  const spared = new Set<number>();
  for (let p = byPid.get(process.pid); p; p = byPid.get(p.ppid)) spared.add(p.pid);
  const found = new Map<number, ProcessInfo>();
  const take = (p: ProcessInfo): void => {
    if (found.has(p.pid) || spared.has(p.pid) || isGuard(p)) return;
    found.set(p.pid, p);
    for (const child of childrenOf(p.pid, all)) take(child);
  };
  for (const p of all) {
    // Init reaps what it adopts when it likes: a zombie of its is nobody's leak.
    if (p.pid === process.pid || (p.state === "Z" && p.ppid === 1)) continue;
    const text = traces(p.pid);
    if (words.some((word) => text.includes(word))) take(p);
  }
  return [...found.values()];
}

/** True for the process that cleans up after another (guard.ts). */
export function isGuard(p: ProcessInfo): boolean {
  return p.argv.some((argument) => argument.endsWith("/test/lib/guard.ts"));
}

/** Mount points whose line in mountinfo has one of the words in it, innermost last. */
export function findMounts(words: readonly string[]): string[] {
  return readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .filter((line) => words.some((word) => line.includes(word)))
    .map((line) =>
      (line.split(" ")[4] ?? "").replace(/\\(\d{3})/g, (_, o: string) => String.fromCharCode(parseInt(o, 8))),
    );
}

/** Directories outside our own where runc, ctr and shims keep things by namespace or container. */
export function findSharedFiles(words: readonly string[]): string[] {
  const found: string[] = [];
  for (const dir of ["/run/containerd/runc", "/run/containerd/fifo", "/run/containerd/io.containerd.runtime.v2.task"]) {
    for (const name of list(dir)) {
      const path = join(dir, name);
      if (words.some((word) => name.includes(word))) found.push(path);
      else if (list(path).some((inner) => words.some((word) => inner.includes(word)))) found.push(path);
    }
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

/** Kills, unmounts and removes everything that carries one of the words. Returns what it found, for a person. */
export function sweep(words: readonly string[]): string[] {
  const found: string[] = [];
  // Killing a shim or a daemon can bring forth new processes (a clean-up call of the shim binary): look again.
  for (let round = 0; round < 50; round++) {
    const processes = findProcesses(words).filter((p) => p.state !== "Z");
    if (processes.length === 0) break;
    // A container that was paused is frozen; one that is being paused just now is in the next round.
    thawCgroups(findCgroups(words));
    for (const p of processes) {
      if (round === 0) found.push(`process ${p.pid}: ${p.argv.join(" ")}`);
      try {
        process.kill(p.pid, "SIGKILL");
      } catch {
        // already gone
      }
    }
    Bun.sleepSync(round < 10 ? 10 : 50);
  }
  for (const path of findMounts(words).reverse()) {
    found.push(`mount ${path}`);
    spawnSync("umount", ["-l", path]);
  }
  let cgroups = findCgroups(words);
  found.push(...cgroups.map((path) => `cgroup ${path}`));
  // A killed process leaves its cgroup a moment after it became a zombie.
  for (let round = 0; round < 50 && cgroups.length > 0; round++) {
    cgroups = removeCgroups(cgroups);
    if (cgroups.length > 0) Bun.sleepSync(20);
  }
  for (const path of findSharedFiles(words)) {
    found.push(`files ${path}`);
    rmSync(path, { recursive: true, force: true });
  }
  return found;
}
