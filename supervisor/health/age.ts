/** How long a process has been running, by the clock that counts from the boot: no jump of the wall clock changes it. */

import { readFile } from "node:fs/promises";

/** Ticks of the kernel's accounting in a second (USER_HZ), the same on every machine that berth runs on. */
const TICKS = 100;
/** Place of starttime among the fields of /proc/PID/stat that follow the name. */
const START_TIME = 19;

/** Milliseconds since a process began; 0 when that cannot be known. */
export async function ageOf(pid: number): Promise<number> {
  try {
    const [stat, uptime] = await Promise.all([readFile(`/proc/${pid}/stat`, "utf8"), readFile("/proc/uptime", "utf8")]);
    const start = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[START_TIME]) / TICKS;
    const age = (Number(uptime.split(" ")[0]) - start) * 1000;
    return Number.isFinite(age) ? Math.max(0, age) : 0;
  } catch {
    return 0;
  }
}
