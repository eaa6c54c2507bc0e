/** `berth rmi`: removes images. */

import type { Command } from "commander";
import { withApi } from "./connect.ts";

/** Adds the verb to a command, under a name. */
export function addRemove(parent: Command, name = "rmi"): void {
  parent
    .command(name)
    .description("remove names of images, and what no name has any more")
    .argument("<image...>")
    .option("-f, --force", "even those that containers were made of, and all names of an id")
    .action((names: string[], { force = false }: { force?: boolean }, self: Command) =>
      withApi(self, async (connection) => (await import("./image/records.ts")).removeImages(connection, names, force)),
    );
}

export function register(program: Command): void {
  addRemove(program);
}
