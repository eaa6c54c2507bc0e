/** The daemon's own process, as Prometheus' clients tell of theirs. */

import { readdirSync, readFileSync } from "node:fs";
import { type Family, single } from "./text.ts";

/** Ticks of a second in /proc/PID/stat: the same on every Linux of x86-64 and arm64. */
const TICKS = 100;
const PAGE = 4096;

/** What the kernel says of this process; families that it does not say are left out. */
export function processFamilies(): Family[] {
  const stat = read("/proc/self/stat");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const field = (number: number): number => Number(fields[number - 3]);
  const boot = Number(/^btime (\d+)$/m.exec(read("/proc/stat"))?.[1]);
  const limits = read("/proc/self/limits");
  const memory = process.memoryUsage.rss();
  const found: [string, "counter" | "gauge", string, number][] = [
    [
      "process_cpu_seconds_total",
      "counter",
      "CPU time of user and system in seconds.",
      (field(14) + field(15)) / TICKS,
    ],
    ["process_open_fds", "gauge", "File descriptors that are open.", count("/proc/self/fd")],
    ["process_max_fds", "gauge", "File descriptors that may be open.", limit(limits, "Max open files")],
    ["process_resident_memory_bytes", "gauge", "Memory that is resident.", memory || field(24) * PAGE],
    ["process_virtual_memory_bytes", "gauge", "Address space that is used.", field(23)],
    [
      "process_virtual_memory_max_bytes",
      "gauge",
      "Address space that may be used.",
      limit(limits, "Max address space"),
    ],
    ["process_start_time_seconds", "gauge", "Start in seconds since 1970.", boot + field(22) / TICKS],
  ];
  return found.filter(([, , , value]) => !Number.isNaN(value)).map((family) => single(...family));
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function count(directory: string): number {
  try {
    // The directory itself is open while it is read.
    return readdirSync(directory).length - 1;
  } catch {
    return Number.NaN;
  }
}

/** A soft limit; one that is not there as the largest number of 64 bits, as Prometheus' clients say it. */
function limit(limits: string, name: string): number {
  const soft = new RegExp(`^${name} +(\\S+)`, "m").exec(limits)?.[1];
  return soft === "unlimited" ? 2 ** 64 : Number(soft);
}
