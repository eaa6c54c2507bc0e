/** What test runs, ours and earlier ones, have left on the machine. */

import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { cgroupRoots, findCgroups } from "../cgroup.ts";
import { readProcess } from "../process.ts";
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

/** Things of the whole machine that a run must leave as they were, whoever made them. */
export function machineState(): Set<string> {
  const found = new Set<string>();
  for (const name of list("/run/containerd/s")) found.add(`socket /run/containerd/s/${name}`);
  for (const name of list("/run/containerd/runc")) found.add(`runc state /run/containerd/runc/${name}`);
  for (const root of cgroupRoots()) for (const name of directories(root)) found.add(`cgroup ${join(root, name)}`);
  for (const line of readFileSync("/proc/self/mountinfo", "utf8").split("\n")) {
    const point = line.split(" ")[4];
    if (point !== undefined) found.add(`mount ${point}`);
  }
  return found;
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
