/** `berth offline`: images that come by themselves, from directories and from the list of images to fetch. */

import type { Command } from "commander";
import { withApi } from "./connect.ts";
import type { OfflineFlags } from "./image/offline.ts";
import { addListFlags } from "./output/list.ts";

export function register(program: Command): void {
  const command = program
    .command("offline")
    .description("show the archives of watched directories and the images to fetch, and how they do")
    .option("--scan", "look at the directories anew first, and try again what has failed");
  addListFlags(command).action((flags: OfflineFlags, self: Command) =>
    withApi(self, async (connection) => (await import("./image/offline.ts")).offline(connection, flags)),
  );
}
