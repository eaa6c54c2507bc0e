/** `berth logs`. */

import type { Command } from "commander";
import { withApi } from "./connect.ts";
import type { LogsFlags } from "./container/logs.ts";

export function register(program: Command): void {
  const command = program
    .command("logs")
    .description("Prints what a container has printed, also of files that are rotated away, and of runs before.")
    .argument("<container>", "its name")
    .option("-f, --follow", "go on with what is printed, until it ends for good")
    .option("--since <time>", "from then on: 10m ago, or 2026-01-31T12:00:00")
    .option("--until <time>", "up to then")
    .option("-n, --tail <lines>", "only so many lines from the end (all)")
    .addHelpText(
      "after",
      "\nA log without times (raw, or written by containerd's own shim) is not cut by --since and --until.",
    )
    .option("-t, --timestamps", "with the time of each line")
    .action(async (id: string, flags: LogsFlags) => {
      await withApi(command, async (connection) => {
        return await (await import("./container/logs.ts")).logs(connection, id, flags);
      });
    });
}
