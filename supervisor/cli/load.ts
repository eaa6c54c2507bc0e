/** `berth load`: takes images out of an archive. */

import type { Command } from "commander";
import { withApi } from "./connect.ts";
import type { LoadFlags } from "./image/archive.ts";
import { addPlatformFlags, addUnpackFlags } from "./image/flags.ts";

/** Adds the verb to a command. */
export function addLoad(parent: Command): void {
  const command = parent
    .command("load")
    .description("load images from an archive of docker save, berth save, or OCI; it may be compressed")
    .option("-i, --input <file>", "read this file instead of standard input")
    .option("-q, --quiet", "only print the names of what was loaded");
  addUnpackFlags(addPlatformFlags(command, "load this platform")).action((flags: LoadFlags, self: Command) =>
    withApi(self, async (connection) => (await import("./image/archive.ts")).load(connection, flags)),
  );
}

export function register(program: Command): void {
  addLoad(program);
}
