/**
 * What a check leaves on the machine, found by its token: a word that stands in the path of its directory, in its
 * namespace, and in the environment, the command line or the cgroup of each process that it starts. Synchronous, so that
 * a signal can end a run and nothing stays.
 */

import { readdirSync, readFileSync, readlinkSync, rmdirSync, rmSync } from "node:fs";
import { join } from "node:path";

/** One process. */
export interface Process {
  readonly pid: number;
  readonly ppid: number;
  /** R, S, D, Z ... as in proc(5). */
  readonly state: string;
  /** The command line, or the short name of a process that has none. */
  readonly command: string;
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** The process, or undefined when there is none. */
export function readProcess(pid: number): Process | undefined {
  const stat = read(`/proc/${pid}/stat`);
  const close = stat.lastIndexOf(")");
  if (close < 0) return undefined;
  const [state = "?", ppid] = stat.slice(close + 2).split(" ");
  const line = read(`/proc/${pid}/cmdline`).split("\0").join(" ").trim();
  return { pid, ppid: Number(ppid), state, command: line || `[${stat.slice(stat.indexOf("(") + 1, close)}]` };
}

/**
 * True while the process exists and is no zombie. One whose first thread is a zombie lives until the others have ended
 * too: they hold its sockets open.
 */
export function isAlive(pid: number): boolean {
  const state = readProcess(pid)?.state;
  if (state === "Z" || state === "X") return list(`/proc/${pid}/task`).length > 1;
  return state !== undefined;
}

/** A number of /proc/PID/stat by its place in proc(5), from 3 on. */
export function statField(pid: number, place: number): number {
  const stat = read(`/proc/${pid}/stat`);
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[place - 3]);
}

function pids(): number[] {
  return readdirSync("/proc")
    .filter((name) => name > "0" && name < ":")
    .map(Number);
}

function carries(pid: number, word: string): boolean {
  return ["cmdline", "environ", "cgroup"].some((file) => read(`/proc/${pid}/${file}`).includes(word));
}

/** Processes that carry the word, and have more memory than these bytes. */
export function findLarge(word: string, bytes: number): Process[] {
  // All machines that containerd runs on have pages of 4 kB at least.
  const resident = (pid: number): number => Number(read(`/proc/${pid}/statm`).split(" ")[1]) * 4096;
  return pids()
    .filter((pid) => pid !== process.pid && resident(pid) > bytes && carries(pid, word))
    .flatMap((pid) => readProcess(pid) ?? []);
}

/** Processes that carry the word, zombies of theirs included; never this one or those that it descends from. */
export function findProcesses(word: string): Process[] {
  const all = pids().flatMap((pid) => readProcess(pid) ?? []);
  const byPid = new Map(all.map((found) => [found.pid, found]));
  const spared = new Set<number>();
  for (let own = byPid.get(process.pid); own; own = byPid.get(own.ppid)) spared.add(own.pid);
  const found = new Set<number>();
  for (const { pid } of all) if (!spared.has(pid) && carries(pid, word)) found.add(pid);
  // A zombie has lost its environment: it is known by its parent.
  return all.filter(({ pid, ppid, state }) => found.has(pid) || (state === "Z" && found.has(ppid)));
}

/** The children of a process. */
export function childrenOf(pid: number): Process[] {
  return pids()
    .flatMap((each) => readProcess(each) ?? [])
    .filter(({ ppid }) => ppid === pid);
}

/** What the open descriptors of a process point at. */
export function descriptorsOf(pid: number): string[] {
  return list(`/proc/${pid}/fd`).flatMap((name) => {
    try {
      return [readlinkSync(`/proc/${pid}/fd/${name}`)];
    } catch {
      return [];
    }
  });
}

/** Mount points of this mount namespace that have the word in their line of mountinfo, in the order of mounting. */
export function findMounts(word: string): string[] {
  return read("/proc/self/mountinfo")
    .split("\n")
    .filter((line) => line.includes(word))
    .map((line) =>
      (line.split(" ")[4] ?? "").replace(/\\(\d{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8))),
    );
}

/** Mount points of all cgroup hierarchies. */
export function cgroupRoots(): string[] {
  return read("/proc/self/mountinfo")
    .split("\n")
    .filter((line) => / - cgroup2? /.test(line))
    .map((line) => line.split(" ")[4] ?? "");
}

/** True when the machine has the unified hierarchy alone. */
export function isCgroup2(): boolean {
  return read("/proc/self/mountinfo")
    .split("\n")
    .every((line) => !/ - cgroup /.test(line));
}

/** The directory of a cgroup that has the file, whatever the hierarchy; undefined when there is none. */
export function cgroupWith(path: string, file: string): string | undefined {
  return cgroupRoots()
    .map((root) => join(root, path))
    .find((dir) => list(dir).includes(file));
}

function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function tree(path: string): string[] {
  try {
    const inner = readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    return [...inner.flatMap(({ name }) => tree(join(path, name))), path];
  } catch {
    return [];
  }
}

/** Cgroups whose first or second part has the word in it, with all below them, deepest first. */
export function findCgroups(word: string): string[] {
  return cgroupRoots().flatMap((root) =>
    list(root).flatMap((top) => {
      if (top.includes(word)) return tree(join(root, top));
      // systemd puts them into its slices.
      if (!top.endsWith(".slice")) return [];
      return list(join(root, top))
        .filter((name) => name.includes(word))
        .flatMap((name) => tree(join(root, top, name)));
    }),
  );
}

/** Ends, unmounts and removes all that carries the word. @returns what there was, for a person */
export function sweep(word: string, files: Iterable<string> = []): string[] {
  const found: string[] = [];
  // What is killed can bring forth new processes for a moment.
  for (let round = 0; round < 100; round++) {
    const living = findProcesses(word).filter(({ state }) => state !== "Z" && state !== "X");
    if (living.length === 0) break;
    for (const { pid, command } of living) {
      if (round === 0) found.push(`process ${pid}: ${command}`);
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It is gone.
      }
    }
    // A frozen process dies when it is thawed.
    for (const path of findCgroups(word)) thaw(path);
    Bun.sleepSync(round < 10 ? 3 : 20);
  }
  for (const path of findMounts(word).reverse()) {
    found.push(`mount ${path}`);
    Bun.spawnSync(["umount", "-l", path]);
  }
  let cgroups = findCgroups(word);
  found.push(...cgroups.map((path) => `cgroup ${path}`));
  for (let round = 0; round < 100 && cgroups.length > 0; round++) {
    cgroups = cgroups.filter((path) => !removed(path));
    if (cgroups.length > 0) Bun.sleepSync(10);
  }
  for (const path of files) rmSync(path, { recursive: true, force: true });
  return found;
}

function thaw(path: string): void {
  for (const [file, word] of [
    ["freezer.state", "THAWED"],
    ["cgroup.freeze", "0"],
  ] as const) {
    if (list(path).includes(file)) Bun.spawnSync(["sh", "-c", 'echo "$1" >"$2"', "sh", word, join(path, file)]);
  }
}

function removed(path: string): boolean {
  try {
    rmdirSync(path);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT";
  }
}
