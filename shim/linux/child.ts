/** Waiting for a child where nothing else is to be done: in processes with one task, or for a child that ends at once. */

import { ErrnoError } from "./errno.ts";
import { errno, libc } from "./libc.ts";

/** For {@link waitForChild}: the child has no signal for its end, which other calls of wait(2) do not see. */
export const WAIT_ALL = 0x40000000;

/**
 * Waits for the end of a child.
 * @param options of wait4(2)
 * @returns its exit code, or 128 and the signal's number
 * @throws ErrnoError
 */
export function waitForChild(pid: number, options = 0): number {
  const status = new Int32Array(1);
  while (libc.wait4(pid, status, options, null) < 0) {
    if (errno() !== 4) throw new ErrnoError(errno(), "wait4", pid);
  }
  const raw = status[0] ?? 0;
  const signal = raw & 0x7f;
  return signal === 0 ? (raw >> 8) & 0xff : 128 + signal;
}
