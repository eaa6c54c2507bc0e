/** `berth save`: puts images into an archive. */

import type { Command } from "commander";
import { withApi } from "./connect.ts";
import type { SaveFlags } from "./image/archive.ts";
import { addPlatformFlags } from "./image/flags.ts";

/** Adds the verb to a command. */
export function addSave(parent: Command): void {
  const command = parent
    .command("save")
    .description("save images as an archive that docker load, berth load and ctr import take")
    .argument("<image...>")
    .option("-o, --output <file>", "write this file instead of standard output")
    .option("-q, --quiet", "show no progress");
  addPlatformFlags(command, "save this platform").action((names: string[], flags: SaveFlags, self: Command) =>
    withApi(self, async (connection) => (await import("./image/archive.ts")).save(connection, names, flags)),
  );
}

export function register(program: Command): void {
  addSave(program);
}
