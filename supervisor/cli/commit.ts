/** `berth commit`: makes an image of what a container has changed. */

import type { Command } from "commander";
import { withApi } from "./connect.ts";
import type { CommitFlags } from "./image/commit.ts";
import { collect } from "./image/flags.ts";

export function register(program: Command): void {
  program
    .command("commit")
    .description("make an image of a container, with what it has changed")
    .argument("<container>")
    .argument("<image>", "name of the new image")
    .option("-a, --author <author>", "who made it")
    .option("-m, --message <message>", "what was done")
    .option(
      "-c, --change <instruction>",
      "CMD, ENTRYPOINT, ENV, WORKDIR, USER, LABEL, EXPOSE, VOLUME or STOPSIGNAL",
      collect,
    )
    .option("-p, --pause", "pause the container meanwhile (the default)", true)
    .option("--no-pause", "let the container go on: files that it writes may be half there")
    .action((id: string, name: string, flags: CommitFlags, self: Command) =>
      withApi(self, async (connection) => (await import("./image/commit.ts")).commit(connection, id, name, flags)),
    );
}
