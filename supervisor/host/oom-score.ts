/** How likely the kernel is to end the daemon when memory runs out. */

import { writeFileSync } from "node:fs";
import type { Log } from "../log/log.ts";

/** Sets oom_score_adj of this process; 0 leaves it. Where that is not allowed the log says so. */
export function setOomScore(score: number, log: Log): void {
  if (score === 0) return;
  try {
    writeFileSync("/proc/self/oom_score_adj", String(score));
  } catch (error) {
    log.warn("cannot set oom_score", { score, error });
  }
}
