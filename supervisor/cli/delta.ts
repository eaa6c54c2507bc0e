/** `berth delta`: makes what turns one image into another, and is a fraction of it. */

import type { Command } from "commander";
import { placeOf, withStatus } from "./connect.ts";
import type { DeltaFlags } from "./image/delta.ts";
import { addRegistryFlags } from "./image/flags.ts";
import { FAILED } from "./status.ts";

export function register(program: Command): void {
  const command = program
    .command("delta")
    .description("make a delta: a file by which a node that has OLD gets NEW, with berth load or by pulling NEW")
    .argument("<old>", "image that the node has: a name, or an archive")
    .argument("<new>", "image that it is to have")
    .option("-o, --output <file>", "write the delta into this file")
    .option("--push [repository]", "push it where nodes that pull NEW look for it: the repository of NEW unless told")
    .option("--platform <platform>", "of images for several platforms, this one; this machine's unless told");
  addRegistryFlags(command).action((old: string, fresh: string, flags: DeltaFlags, self: Command) =>
    // A daemon is asked only for images that are in no archive.
    withStatus(self, FAILED, async () =>
      (await import("./image/delta.ts")).delta({ ...placeOf(self), old, fresh }, flags),
    ),
  );
}
