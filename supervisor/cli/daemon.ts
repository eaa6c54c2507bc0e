/** `berth daemon`, or the executable under the name `berthd`: runs the daemon until it is told to end. */

import { parseArgs } from "node:util";
import { Daemon } from "../daemon.ts";

/** @returns the exit status */
export async function daemon(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      root: { type: "string", default: "/var/lib/berth" },
      state: { type: "string", default: "/run/berth" },
      address: { type: "string", default: "/run/berth/berth.sock" },
    },
  });
  const running = await Daemon.start(values);
  const { promise, resolve } = Promise.withResolvers<void>();
  process.on("SIGTERM", () => resolve());
  process.on("SIGINT", () => resolve());
  await promise;
  await running.stop();
  return 0;
}
