/** The machine, as the kernel tells of it. */

import { existsSync, readFileSync } from "node:fs";
import { availableParallelism, hostname, machine, release, type } from "node:os";

/** Systemd's sign that the clock was set by a server of time. */
const SYNCHRONIZED = "/run/systemd/timesync/synchronized";
/** A clock before this was surely never set: berth did not exist. Milliseconds since 1970. */
const OLDEST_MS = Date.UTC(2025, 0, 1);

/** The node at one moment. Sizes are bytes, times seconds. */
export interface NodeStatus {
  readonly hostname: string;
  readonly kernel: string;
  readonly architecture: string;
  readonly operatingSystem: string;
  readonly processors: number;
  readonly uptime: number;
  /** Boots with a berthd; undefined when they could not be counted. */
  readonly boots: number | undefined;
  /** Averages over 1, 5 and 15 minutes. */
  readonly load: readonly number[];
  readonly memory: { readonly total: number; readonly available: number };
  readonly clock: {
    readonly now: string;
    /** False: it was never set since the machine was switched on. */
    readonly isPlausible: boolean;
    /** Undefined where nobody says. */
    readonly isSynchronized: boolean | undefined;
  };
}

/** @param boots see {@link countBoots} */
export function nodeStatus(boots: number | undefined): NodeStatus {
  const memory = new Map(
    read("/proc/meminfo")
      .split("\n")
      .map((line) => /^(\w+):\s+(\d+) kB/.exec(line))
      .flatMap((found) => (found ? [[found[1] ?? "", Number(found[2]) * 1024] as const] : [])),
  );
  const systemName = /^PRETTY_NAME="?([^"\n]*)"?$/m.exec(read("/etc/os-release"))?.[1] ?? type();
  return {
    hostname: hostname(),
    kernel: release(),
    architecture: machine(),
    operatingSystem: systemName,
    processors: availableParallelism(),
    uptime: uptime(),
    boots,
    load: read("/proc/loadavg").split(" ").slice(0, 3).map(Number),
    memory: { total: memory.get("MemTotal") ?? 0, available: memory.get("MemAvailable") ?? 0 },
    clock: {
      now: new Date().toISOString(),
      isPlausible: Date.now() >= OLDEST_MS,
      isSynchronized: existsSync("/run/systemd/timesync") ? existsSync(SYNCHRONIZED) : undefined,
    },
  };
}

/** Seconds since the kernel's start, by its own clock. */
function uptime(): number {
  return Number(read("/proc/uptime").split(" ")[0] ?? 0);
}

/**
 * How long a process has run, in seconds, by a clock that does not jump.
 * @returns undefined for one that is not there
 */
export function processAge(pid: number): number | undefined {
  const stat = read(`/proc/${pid}/stat`);
  const ticks = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]);
  // 100 ticks a second on every Linux of x86-64 and arm64.
  return Number.isNaN(ticks) || stat === "" ? undefined : Math.max(0, uptime() - ticks / 100);
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
