/** `berth rollback`: brings an application back to an earlier revision. */

import type { Command } from "commander";
import type { ChangeFlags } from "./apply.ts";
import { withApi } from "./connect.ts";

export function register(program: Command): void {
  program
    .command("rollback")
    .description("bring an application back to its last good revision, or to one by its number (berth apps show)")
    .argument("<app>")
    .argument("[revision]")
    .option("--no-wait", "do not wait until it is healthy: return when its images are here")
    .option("--timeout <time>", "how long a container may take to become healthy, such as 90s")
    .option("-q, --quiet", "do not tell what happens on the way")
    .action((name: string, revision: string | undefined, flags: ChangeFlags, self: Command) =>
      withApi(self, async (connection) => (await import("./app/apply.ts")).rollback(connection, name, revision, flags)),
    );
}
