/** `berth apply`: brings an application to what a file says. */

import type { Command } from "commander";
import { withApi } from "./connect.ts";

/** Options of verbs that change an application. */
export interface ChangeFlags {
  readonly name?: string;
  readonly rollback?: boolean;
  readonly wait?: boolean;
  readonly timeout?: string;
  readonly quiet?: boolean;
}

export function register(program: Command): void {
  program
    .command("apply")
    .description("bring applications to what files in Compose's schema say, by the smallest change")
    .argument("<file...>", "a file, a directory of *.yaml, or - for standard input")
    .option("--name <name>", "name of the application, when the file has none")
    .option("--no-rollback", "stay with a version that does not become healthy")
    .option("--no-wait", "do not wait until it is healthy: return when its images are here")
    .option(
      "--timeout <time>",
      "how long a container may take to become healthy, such as 90s; else what its check needs",
    )
    .option("-q, --quiet", "do not tell what happens on the way")
    .action((files: string[], flags: ChangeFlags, self: Command) =>
      withApi(self, async (connection) => (await import("./app/apply.ts")).applyFiles(connection, files, flags)),
    );
}
