/** `berth pull`: fetches images from registries. */

import type { Command } from "commander";
import { withApi } from "./connect.ts";
import { addPlatformFlags, addRegistryFlags, addUnpackFlags } from "./image/flags.ts";
import type { PullFlags } from "./image/transfer.ts";

/** Adds the verb to a command. */
export function addPull(parent: Command): void {
  const command = parent.command("pull").description("fetch images from a registry").argument("<image...>");
  addUnpackFlags(addPlatformFlags(addRegistryFlags(command), "fetch this platform")).action(
    (names: string[], flags: PullFlags, self: Command) =>
      withApi(self, async (connection) => (await import("./image/transfer.ts")).pull(connection, names, flags)),
  );
}

export function register(program: Command): void {
  addPull(program);
}
