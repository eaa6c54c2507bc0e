/** `berth prune`: removes what nobody uses. */

import type { Command } from "commander";
import { withApi } from "./connect.ts";
import { collect } from "./image/flags.ts";
import type { PruneFlags } from "./image/prune.ts";

/** Adds `prune` of images to a command. */
export function addImagePrune(parent: Command): void {
  addFlags(
    parent.command("prune").description("remove images that have no tag, with -a all that no container uses"),
  ).action((flags: PruneFlags, self: Command) =>
    withApi(self, async (connection) => (await import("./image/prune.ts")).prune(connection, flags, ["images"])),
  );
}

/** Adds `prune` of everything to a command. Networks and volumes, which may hold data, have verbs of their own. */
export function addPrune(parent: Command): void {
  addFlags(parent.command("prune").description("remove stopped containers, and images that nobody uses")).action(
    (flags: PruneFlags, self: Command) =>
      withApi(self, async (connection) =>
        (await import("./image/prune.ts")).prune(connection, flags, ["containers", "images"]),
      ),
  );
}

function addFlags(command: Command): Command {
  return command
    .option("-a, --all", "all images that no container uses, not only those without a tag")
    .option("-f, --force", "do not ask")
    .option("--filter <filter>", "until=TIME (10h, or a date), label=NAME[=VALUE]", collect);
}

export function register(program: Command): void {
  addPrune(program);
}
