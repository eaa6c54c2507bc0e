/** How long the other end of a stream may take to appear. */

import { deadlines } from "../../../proto/deadlines.ts";

/**
 * Milliseconds until a FIFO without a reader, or a logger that is not ready, is given up (T-CRE-8).
 * BERTH_STDIO_TIMEOUT (seconds) replaces the limit, for loggers that start slowly or tests that cannot wait.
 */
export function stdioLimit(): number {
  const seconds = Number(Bun.env["BERTH_STDIO_TIMEOUT"]);
  return seconds > 0 ? seconds * 1000 : deadlines.stdio;
}
