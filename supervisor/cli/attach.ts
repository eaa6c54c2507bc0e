/** `berth attach`: stays with a container that runs. */

import type { Command } from "commander";
import { withApi } from "./connect.ts";
import type { AttachFlags } from "./container/attach.ts";

export function register(program: Command): void {
  const command = program
    .command("attach")
    .description(
      "Stays with a container that runs: its output comes here, and what is typed goes in, where it was left.",
    )
    .argument("<container>", "its name")
    .option("--no-stdin", "nothing goes in")
    .option("--detach-keys <keys>", "keys that leave it running", "ctrl-p,ctrl-q")
    .option("--sig-proxy <bool>", "signals go on to the container (true)")
    .action(async (id: string, flags: AttachFlags) => {
      await withApi(command, async (connection) => {
        return await (await import("./container/attach.ts")).attach(connection, id, flags);
      });
    });
}
