/** `berth diff`: what `berth apply` would do. */

import type { Command } from "commander";
import { withApi } from "./connect.ts";

/** As diff(1): it could not be told. */
const TROUBLE = 2;

/** Options of the verb. */
export interface DiffFlags {
  readonly name?: string;
  readonly format?: string;
}

export function register(program: Command): void {
  program
    .command("diff")
    .description("show what apply would change; exit status 0: nothing, 1: something, 2: it cannot be told")
    .argument("<file...>", "a file, a directory of *.yaml, or - for standard input")
    .option("--name <name>", "name of the application, when the file has none")
    .option("--format <format>", "text, or json (an object for each application)", "text")
    .action((files: string[], flags: DiffFlags, self: Command) =>
      withApi(self, async (connection) => (await import("./app/diff.ts")).diffFiles(connection, files, flags), TROUBLE),
    );
}
