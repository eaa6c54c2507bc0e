/** Where clients have the FIFOs of the containers that they stay with. */

import { rmSync } from "node:fs";
import { basename, dirname } from "node:path";

/** In memory, and gone after a reboot, as what writes to them is. */
export function fifoDirectory(): string {
  return process.env["BERTH_FIFO_DIR"] || "/run/berth/fifo";
}

/** Beginning of the names of directories with the FIFOs of one process. */
export const FIFO_PREFIX = "io-";

/** Removes the FIFOs of a process that has ended, where a client has left them. @param stdout of the process */
export function removeFifos(stdout: string): void {
  const directory = dirname(stdout);
  // What the task says may be anything.
  const isOurs = dirname(directory) === fifoDirectory() && /^io-[A-Za-z0-9]+$/.test(basename(directory));
  if (isOurs) rmSync(directory, { recursive: true, force: true });
}
