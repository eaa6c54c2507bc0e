/** What /proc says about processes. */

import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** One process, as /proc/PID/stat and its neighbours tell it. */
export interface ProcessInfo {
  pid: number;
  ppid: number;
  /** R, S, D, Z ... as in proc(5). */
  state: string;
  /** Short name, at most 15 characters. */
  comm: string;
  argv: string[];
  /** Start time in clock ticks since boot; with the pid, an identity that is never used again. */
  startTime: number;
}

function tryRead(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** The process, or undefined when there is none. */
export function readProcess(pid: number): ProcessInfo | undefined {
  const stat = tryRead(`/proc/${pid}/stat`);
  const open = stat.indexOf("(");
  const close = stat.lastIndexOf(")");
  if (open < 0) return undefined;
  const fields = stat.slice(close + 2).split(" ");
  return {
    pid,
    comm: stat.slice(open + 1, close),
    state: fields[0] ?? "?",
    ppid: Number(fields[1]),
    startTime: Number(fields[19]),
    argv: tryRead(`/proc/${pid}/cmdline`).split("\0").slice(0, -1),
  };
}

/** Every process of the machine. */
export function allProcesses(): ProcessInfo[] {
  const found: ProcessInfo[] = [];
  for (const name of readdirSync("/proc")) {
    if (name < "0" || name > ":") continue;
    const info = readProcess(Number(name));
    if (info) found.push(info);
  }
  return found;
}

/** The direct children of a process. */
export function childrenOf(pid: number, all = allProcesses()): ProcessInfo[] {
  return all.filter((p) => p.ppid === pid);
}

/** Children, their children, and so on. */
export function descendantsOf(pid: number, all = allProcesses()): ProcessInfo[] {
  return childrenOf(pid, all).flatMap((child) => [child, ...descendantsOf(child.pid, all)]);
}

/** True while the process exists and is not a zombie. */
export function isAlive(pid: number): boolean {
  const info = readProcess(pid);
  return info !== undefined && info.state !== "Z" && info.state !== "X";
}

/** What a process is known by: command line, working directory, environment and cgroups in one text to search. */
export function traces(pid: number): string {
  let cwd = "";
  try {
    cwd = readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    // gone, or a kernel thread
  }
  return [cwd, ...["cmdline", "environ", "cgroup"].map((file) => tryRead(`/proc/${pid}/${file}`))].join("\n");
}

/**
 * The serving shim of a container: the process whose command line names the namespace and the id, or, for a grouped
 * container, the parent of its init.
 */
export function findShim(namespace: string, id: string): ProcessInfo | undefined {
  return allProcesses().find((p) => {
    const flag = (name: string): string | undefined => {
      const at = p.argv.findIndex((a) => a === `-${name}` || a === `--${name}`);
      return at < 0 ? undefined : p.argv[at + 1];
    };
    return (
      flag("namespace") === namespace &&
      flag("id") === id &&
      p.state !== "Z" &&
      !p.argv.includes("start") &&
      !p.argv.includes("delete")
    );
  });
}

/** One line for a person: pid, state and command. */
export function describe(p: ProcessInfo): string {
  return `pid ${p.pid} (parent ${p.ppid}, ${p.state}) ${p.argv.join(" ") || `[${p.comm}]`}`;
}

/** Memory of a process in bytes, from smaps_rollup (proc(5)). */
export interface Memory {
  /** Its own pages and its share of those that others map too. */
  pss: number;
  /** Pages that only it maps, written or not. */
  private: number;
  /** Pages that only it maps and has written: what one more such process costs. */
  written: number;
  rss: number;
}

/** Memory of a process; undefined when it is gone or the kernel has no smaps_rollup. */
export function readMemory(pid: number): Memory | undefined {
  const text = tryRead(`/proc/${pid}/smaps_rollup`);
  if (!text) return undefined;
  const bytes = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(text)?.[1] ?? 0) * 1024;
  const written = bytes("Private_Dirty");
  return { pss: bytes("Pss"), private: bytes("Private_Clean") + written, written, rss: bytes("Rss") };
}

/** The open files of this process: descriptor number to what it points at. */
export function ownDescriptors(): Map<number, string> {
  const found = new Map<number, string>();
  for (const name of readdirSync("/proc/self/fd")) {
    try {
      found.set(Number(name), readlinkSync(`/proc/self/fd/${name}`));
    } catch {
      // the descriptor that listed the directory
    }
  }
  return found;
}
