/** What test runs, ours and earlier ones, have left on the machine. */

import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { cgroupRoots, findCgroups } from "../cgroup.ts";
import { allProcesses, readProcess, traces } from "../process.ts";
import { tokenPrefix } from "../scope.ts";
import { findMounts, findProcesses, findSharedFiles, sweep } from "../sweep.ts";

const tokenPattern = new RegExp(`${tokenPrefix}(\\d+)-[a-z0-9]+`, "g");

/** Tokens of runs whose process is gone, found by what they left: processes, mounts, cgroups and files. */
export function deadTokens(): string[] {
  const texts = [
    ...list("/tmp"),
    ...list("/run/containerd/runc"),
    ...cgroupRoots().flatMap(list),
    readFileSync("/proc/self/mountinfo", "utf8"),
    ...findProcesses([tokenPrefix]).map((p) => `${p.argv.join(" ")} ${environment(p.pid)}`),
  ];
  const tokens = new Map<string, number>();
  for (const text of texts) {
    for (const match of text.matchAll(tokenPattern)) tokens.set(match[0], Number(match[1]));
  }
  return [...tokens].filter(([token, pid]) => !isOwnerAlive(token, pid)).map(([token]) => token);
}

function isOwnerAlive(token: string, pid: number): boolean {
  const owner = readProcess(pid);
  if (!owner) return false;
  try {
    return readFileSync(`/tmp/${token}/owner`, "utf8") === `${pid} ${owner.startTime}\n`;
  } catch {
    return false;
  }
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

/** Removes what runs that are over have left behind, and says what it was. */
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
