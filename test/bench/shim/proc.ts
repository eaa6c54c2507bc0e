/** What /proc says about the cost of an idle process: memory by kind, and how often its threads were switched in. */

import { readdirSync, readFileSync } from "node:fs";

/** Memory of one process in kB (proc(5), smaps_rollup). */
export interface Memory {
  readonly rss: number;
  readonly pss: number;
  readonly privateDirty: number;
  readonly anonymous: number;
}

/**
 * Reads the memory of a process.
 *
 * @throws Error when the process has ended, or the kernel does not tell
 */
export function readMemory(pid: number): Memory {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const field = (name: string): number => {
    const found = new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(text)?.[1];
    if (found === undefined) {
      throw new Error(`no ${name} in smaps_rollup of process ${pid}`);
    }
    return Number(found);
  };
  return {
    rss: field("Rss"),
    pss: field("Pss"),
    privateDirty: field("Private_Dirty"),
    anonymous: field("Anonymous"),
  };
}

/** Context switches of every thread so far, by thread id. */
export function readSwitches(pid: number): Map<number, number> {
  const threads = new Map<number, number>();
  for (const name of readdirSync(`/proc/${pid}/task`)) {
    let text: string;
    try {
      text = readFileSync(`/proc/${pid}/task/${name}/status`, "utf8");
    } catch {
      continue; // the thread ended while the directory was read
    }
    let sum = 0;
    for (const match of text.matchAll(/^(?:non)?voluntary_ctxt_switches:\s+(\d+)/gm)) {
      sum += Number(match[1]);
    }
    threads.set(Number(name), sum);
  }
  return threads;
}

/** Switches between two readings; a thread that is new counts in full, one that ended since does not count. */
export function switchesBetween(before: Map<number, number>, after: Map<number, number>): number {
  let sum = 0;
  for (const [thread, count] of after) {
    sum += count - (before.get(thread) ?? 0);
  }
  return sum;
}

/**
 * The parent of a process.
 *
 * @throws Error when the process has ended
 */
export function parentOf(pid: number): number {
  return Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
}
