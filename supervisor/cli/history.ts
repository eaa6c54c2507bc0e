/** `berth history`: what an image was made of. */

import type { Command } from "commander";
import { withApi } from "./connect.ts";
import { addListFlags, type ListFlags } from "./output/list.ts";

/** Adds the verb to a command. */
export function addHistory(parent: Command): void {
  addListFlags(parent.command("history").description("show what an image was made of, the last step first"))
    .argument("<image>")
    .action((name: string, flags: ListFlags, self: Command) =>
      withApi(self, async (connection) => (await import("./image/inspect.ts")).history(connection, name, flags)),
    );
}

export function register(program: Command): void {
  addHistory(program);
}
