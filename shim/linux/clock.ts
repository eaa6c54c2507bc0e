/** The system's clock, finer than JavaScript's. */

import { address, check, libc } from "./libc.ts";

const SYS_clock_gettime = process.arch === "arm64" ? 113 : 228;
const CLOCK_REALTIME = 0;
const into = new BigInt64Array(2);

/** Cached: text of the second that was formatted last. */
let second = -1n;
let text = "";

/** The time now as RFC 3339 with nine digits after the point, in UTC. @throws ErrnoError */
export function timeNow(): string {
  check(Number(libc.syscall(SYS_clock_gettime, CLOCK_REALTIME, address(into), 0, 0, 0)), "clock_gettime", "");
  const [seconds = 0n, nanos = 0n] = into;
  if (seconds !== second) {
    second = seconds;
    text = new Date(Number(seconds) * 1000).toISOString().slice(0, 20);
  }
  return `${text}${String(nanos).padStart(9, "0")}Z`;
}
