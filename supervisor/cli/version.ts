/** `berth version`. */

import type { Command } from "commander";
import manifest from "../../package.json" with { type: "json" };
import { placeOf, withStatus } from "./connect.ts";
import { FAILED } from "./status.ts";

/** Prints the version alone: for `--version` of other roles. @returns the exit status */
export async function version(): Promise<number> {
  await Bun.write(Bun.stdout, `berth ${manifest.version}\n`);
  return 0;
}

export function register(program: Command): void {
  program
    .command("version")
    .description("print the versions of berth, of the daemon, and of the runtimes")
    .option("-f, --format <format>", "json, or a template such as '{{.Client.Version}}'")
    .action(({ format }: { format?: string }, self: Command) =>
      withStatus(self, FAILED, async () => (await import("./host/info.ts")).versions(placeOf(self).address, format)),
    );
}
