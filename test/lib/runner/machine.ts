/** What test runs, ours and earlier ones, have left on the machine. */

import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { cgroupRoots, findCgroups } from "../cgroup.ts";
import { allProcesses, readProcess, traces } from "../process.ts";
import { scopeVariable, tokenPrefix } from "../scope.ts";
import { findMounts, findProcesses, findSharedFiles, sweep } from "../sweep.ts";

const tokenPattern = new RegExp(`${tokenPrefix}(\\d+)-([a-z0-9]+)`, "g");

/**
 * Tokens of runs whose process is gone, found by what they left: processes, mounts, cgroups and files. A run is over
 * only when its pid is free or somebody else's by now; our own surroundings (a run that started us) are never among them.
 */
export function deadTokens(): string[] {
  const texts = [
    ...list("/tmp"),
    ...list("/run/containerd/runc"),
    ...cgroupRoots().flatMap(list),
    readFileSync("/proc/self/mountinfo", "utf8"),
    ...findProcesses([tokenPrefix]).map((p) => `${p.argv.join(" ")} ${environment(p.pid)}`),
  ];
  const dead = new Set<string>();
  for (const text of texts) {
    for (const [token, pid, born = ""] of text.matchAll(tokenPattern)) {
      if (!isRunning(Number(pid), born) && !process.env[scopeVariable]?.includes(token)) dead.add(token);
    }
  }
  return [...dead];
}

/** True while the process that made a token runs. */
export function isRunning(pid: number, born: string): boolean {
  return readProcess(pid)?.startTime.toString(36) === born;
}

function environment(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, "utf8");
  } catch {
    return "";
  }
}

function list(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}

/** Everything that carries a token, as lines for a person. */
export function findByToken(token: string): string[] {
  return [
    ...findProcesses([token]).map((p) => `process ${p.pid}: ${p.argv.join(" ") || p.comm}`),
    ...findMounts([token]).map((path) => `mount ${path}`),
    ...findCgroups([token]).map((path) => `cgroup ${path}`),
    ...findSharedFiles([token]).map((path) => `files ${path}`),
  ];
}

/** What runs that are over have left behind. It is only told: `bun test/run.ts clean` removes it. */
export function findDeadRuns(): string[] {
  return deadTokens().flatMap((token) => [
    ...findByToken(token),
    ...list("/tmp")
      .filter((name) => name.includes(token))
      .map((name) => `files /tmp/${name}`),
  ]);
}

/** Removes what {@link findDeadRuns} finds, and ends its processes. Only for somebody who asked for it. */
export function removeDeadRuns(): string[] {
  return deadTokens().flatMap((token) => {
    const found = sweep([token]);
    for (const name of list("/tmp")) {
      if (!name.includes(token)) continue;
      found.push(`files /tmp/${name}`);
      rmSync(join("/tmp", name), { recursive: true, force: true });
    }
    return found;
  });
}

/** Things of the whole machine that a run must leave as they were: lines of a kind and a path. */
export function machineState(): Set<string> {
  const found = new Set<string>();
  for (const name of list("/run/containerd/s")) found.add(`socket /run/containerd/s/${name}`);
  for (const namespace of list("/run/containerd/runc")) {
    const dir = join("/run/containerd/runc", namespace);
    for (const name of list(dir)) found.add(`state ${join(dir, name)}`);
  }
  for (const root of cgroupRoots()) for (const name of directories(root)) found.add(`cgroup ${join(root, name)}`);
  for (const line of readFileSync("/proc/self/mountinfo", "utf8").split("\n")) {
    const point = line.split(" ")[4];
    if (point !== undefined) found.add(`mount ${point}`);
  }
  return found;
}

/**
 * What came up since `before` and belongs to nobody who is alive: a socket without a listener, a cgroup without a
 * process, a container's state without its process, a mount in a directory that no process speaks of. What somebody
 * else on the machine is working with is theirs.
 */
export function orphansSince(before: ReadonlySet<string>): string[] {
  const came = [...machineState()].filter((item) => !before.has(item));
  if (came.length === 0) return [];
  const listening = readFileSync("/proc/net/unix", "utf8");
  const processes = allProcesses().filter((p) => p.pid !== process.pid);
  const words = processes.map((p) => traces(p.pid)).join("\n");
  return came.filter((item) => {
    const [kind, path = ""] = item.split(" ", 2);
    if (kind === "socket") return !listening.includes(path);
    // The cgroup of a namespace stays with every runtime; one of a container in it must not.
    if (kind === "cgroup") return directories(path).length > 0 && !hasProcess(path);
    // Somebody at work on /tmp/x/y/rootfs has a process that names /tmp/x.
    if (kind === "mount") return !words.includes(path.split("/").slice(0, 3).join("/"));
    return !words.includes(path.split("/").at(-2) ?? path);
  });
}

function hasProcess(cgroup: string): boolean {
  try {
    if (readFileSync(join(cgroup, "cgroup.procs"), "utf8") !== "") return true;
  } catch {
    return false;
  }
  return directories(cgroup).some((name) => hasProcess(join(cgroup, name)));
}

function directories(dir: string): string[] {
  try {
    return readdirSync(dir, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
  } catch {
    return [];
  }
}
