/** Whether what an attachment was made for is still there. */

import { readFileSync } from "node:fs";

/** What names a process for good. */
export interface ProcessName {
  readonly pid: number;
  readonly startTime: string;
  readonly bootId: string;
}

let boot: string | undefined;

/** The id of this boot of the machine. */
export function bootId(): string {
  boot ??= readText("/proc/sys/kernel/random/boot_id")?.trim() ?? "";
  return boot;
}

/** The name of a process that runs; undefined when there is none, or it has ended. */
export function processName(pid: number): ProcessName | undefined {
  const stat = readText(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  // The command, in brackets, may have spaces and brackets.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [state, startTime] = [fields[0], fields[19]];
  if (state === "Z" || state === "X" || startTime === undefined) return undefined;
  return { pid, startTime, bootId: bootId() };
}

/** True while the process runs. */
export function isAlive(name: ProcessName): boolean {
  if (name.bootId !== bootId()) return false;
  return processName(name.pid)?.startTime === name.startTime;
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
