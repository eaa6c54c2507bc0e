/** `berth run`: makes a container and starts it. */

import type { Command } from "commander";
import { withApi } from "./connect.ts";
import { addRunFlags, type RunFlags } from "./container/flags.ts";
import { USAGE } from "./status.ts";

interface Flags extends RunFlags {
  readonly detachKeys: string;
  readonly sigProxy?: string;
}

export function register(program: Command): void {
  const command = program
    .command("run")
    .summary("make a container and start it")
    .description(
      "Makes a container of an image and starts it. Without -d its output comes here, and its exit status is berth's; 125 " +
        "says that berth failed, 126 that the command cannot be run, 127 that it is not there.",
    )
    .argument("<image>", "an image, which is pulled if it is not here")
    .argument("[command...]", "what runs, in place of the image's own command")
    .passThroughOptions();
  addRunFlags(command)
    .option("-d, --detach", "only start it, and print its id")
    .option("--detach-keys <keys>", "keys that leave it running", "ctrl-p,ctrl-q")
    .option("--sig-proxy <bool>", "signals go on to the container (true)")
    .action(async (image: string, args: string[], flags: Flags) => {
      await withApi(
        command,
        async (connection) => (await import("./container/run.ts")).run(connection, image, args, flags),
        USAGE,
      );
    });
}
