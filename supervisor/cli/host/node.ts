/** What this machine as a whole does: CPU, memory, disk, load. */

import { readFileSync, statfsSync } from "node:fs";
import { machineMemory } from "./usage.ts";

/** Clock ticks of all CPUs since the start. */
export interface CpuTicks {
  readonly busy: number;
  readonly total: number;
}

/** One look at the machine. */
export interface NodeView {
  readonly ticks: CpuTicks;
  readonly memory: { readonly total: number; readonly available: number };
  readonly load: readonly number[];
  /** Seconds since the start. */
  readonly uptime: number;
  readonly disk: { readonly total: number; readonly free: number } | undefined;
}

/** @param root a directory on the disk that counts */
export function readNode(root: string | undefined): NodeView {
  return {
    ticks: parseTicks(readFileSync("/proc/stat", "utf8")),
    memory: machineMemory(),
    load: readFileSync("/proc/loadavg", "utf8").split(" ").slice(0, 3).map(Number),
    uptime: Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]),
    disk: root === undefined ? undefined : diskOf(root),
  };
}

/** The first line of /proc/stat. Waiting for a disk counts as idle. */
export function parseTicks(text: string): CpuTicks {
  const [user = 0, nice = 0, system = 0, idle = 0, wait = 0, irq = 0, soft = 0, steal = 0] = (text.split("\n")[0] ?? "")
    .split(/\s+/)
    .slice(1)
    .map(Number);
  const busy = user + nice + system + irq + soft + steal;
  return { busy, total: busy + idle + wait };
}

/** Part of the machine's CPU time that was used between two looks, from 0 to 1. */
export function busyPart(before: CpuTicks | undefined, after: CpuTicks): number {
  const total = before === undefined ? 0 : after.total - before.total;
  return before === undefined || total <= 0 ? 0 : Math.min(1, Math.max(0, (after.busy - before.busy) / total));
}

/** Bytes of a file system, and those that anybody may still use; undefined where it cannot be asked. */
export function diskOf(path: string): { total: number; free: number } | undefined {
  try {
    const { bsize, blocks, bavail } = statfsSync(path);
    return { total: bsize * blocks, free: bsize * bavail };
  } catch {
    return undefined;
  }
}
