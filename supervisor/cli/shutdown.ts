/** `berth shutdown`: ends all containers in order, for a machine that goes down. */

import type { Command } from "commander";
import { loadConfig } from "../config.ts";
import { withApi } from "./connect.ts";
import { FAILED } from "./status.ts";

/** All containers together have this long. */
const LIMIT_MS = 300_000;

export function register(program: Command): void {
  program
    .command("shutdown")
    .description(
      "end all containers in order, as a machine that goes down does; the next start of berthd starts them again",
    )
    .option("--cancel", "start again what was ended: the machine does not go down after all")
    .option("--config <file>", "configuration of the daemon, which says where it listens")
    .action(({ cancel, config }: { cancel?: boolean; config?: string }, self: Command) => {
      if (config !== undefined) self.setOptionValue("address", loadConfig({ config }).grpc.address);
      return withApi(self, async ({ api }) => {
        if (cancel) {
          await api.call("berth.v1.Upkeep", "Resume", {});
          return 0;
        }
        const { ended, left } = await api.call("berth.v1.Upkeep", "Halt", {}, { deadlineMs: LIMIT_MS });
        process.stdout.write(`${ended} ended${left > 0 ? `, ${left} could not be ended: see the daemon's log` : ""}\n`);
        return left > 0 ? FAILED : 0;
      });
    });
}
