/** Runs of the conformance kit, as a person makes them: by the built executable, with a report to read. */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Report } from "../conformance/result.ts";
import { root } from "./paths.ts";

/** What a run of the kit left behind. */
export interface KitRun {
  readonly pid: number;
  /** Undefined when the kit made none; {@link said} tells why. */
  readonly report: Report | undefined;
  /** What was on stderr. */
  readonly said: string;
}

/**
 * Runs `berth conformance`.
 * @param path where the report goes, ending in `.json` @param signal ends the run in order
 */
export async function runKit(
  shim: string,
  path: string,
  flags: readonly string[],
  signal?: AbortSignal,
): Promise<KitRun> {
  const argv = ["conformance", "--shim", shim, "--report", path, ...flags];
  const child = Bun.spawn([join(root, "dist", "berth"), ...argv], {
    // As it is now: PATH may have got a criu since the start.
    env: { ...process.env },
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
  });
  const stop = (): void => child.kill("SIGINT");
  signal?.addEventListener("abort", stop, { once: true });
  const [said] = await Promise.all([child.stderr.text(), child.exited]);
  signal?.removeEventListener("abort", stop);
  const report = existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as Report) : undefined;
  return { pid: child.pid, report, said };
}
