/** `berth create`: makes a container, and does not start it. */

import type { Command } from "commander";
import { withApi } from "./connect.ts";
import { addRunFlags, type RunFlags } from "./container/flags.ts";

export function register(program: Command): void {
  const command = program
    .command("create")
    .description("Makes a container of an image, and prints its id: berth start starts it.")
    .argument("<image>", "an image, which is pulled if it is not here")
    .argument("[command...]", "what runs, in place of the image's own command")
    .passThroughOptions();
  addRunFlags(command).action(async (image: string, args: string[], flags: RunFlags) => {
    await withApi(command, async (connection) => {
      const { create } = await import("./container/run.ts");
      const { print } = await import("./output/terminal.ts");
      await print(`${await create(connection, image, args, flags)}\n`);
    });
  });
}
