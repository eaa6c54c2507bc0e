/** `berth push`: brings an image to a registry. */

import type { Command } from "commander";
import { withApi } from "./connect.ts";
import { addPlatformFlags, addRegistryFlags } from "./image/flags.ts";
import type { PlatformFlags, RegistryFlags } from "./image/transfer.ts";

/** Adds the verb to a command. */
export function addPush(parent: Command): void {
  const command = parent
    .command("push")
    .description("bring an image to a registry")
    .argument("<image>")
    .argument("[as]", "another name to push it under");
  addPlatformFlags(addRegistryFlags(command), "push this platform").action(
    (name: string, as: string | undefined, flags: RegistryFlags & PlatformFlags, self: Command) =>
      withApi(self, async (connection) => (await import("./image/transfer.ts")).push(connection, name, as, flags)),
  );
}

export function register(program: Command): void {
  addPush(program);
}
