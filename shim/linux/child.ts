/** Waiting for a child where nothing else is to be done: in processes with one task. */

import { ErrnoError } from "./errno.ts";
import { errno, libc } from "./libc.ts";

/** Waits for the end of a child. @returns its exit code, or 128 and the signal's number @throws ErrnoError */
export function waitForChild(pid: number): number {
  const status = new Int32Array(1);
  while (libc.wait4(pid, status, 0, null) < 0) {
    if (errno() !== 4) throw new ErrnoError(errno(), "wait4", pid);
  }
  const raw = status[0] ?? 0;
  const signal = raw & 0x7f;
  return signal === 0 ? (raw >> 8) & 0xff : 128 + signal;
}
