/** `berth tag`: gives an image one more name. */

import type { Command } from "commander";
import { withApi } from "./connect.ts";

/** Adds the verb to a command. */
export function addTag(parent: Command): void {
  parent
    .command("tag")
    .description("give an image one more name")
    .argument("<image>")
    .argument("<name>")
    .action((source: string, target: string, _: unknown, self: Command) =>
      withApi(self, async (connection) => (await import("./image/records.ts")).tag(connection, source, target)),
    );
}

export function register(program: Command): void {
  addTag(program);
}
