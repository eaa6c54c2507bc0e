/** `berth ps`. */

import { type Command, Option } from "commander";
import { withApi } from "./connect.ts";
import type { PsFlags } from "./container/list.ts";
import { addListFlags } from "./output/list.ts";

const collect = (value: string, before: string[]): string[] => [...before, value];

export function register(program: Command): void {
  const command = program
    .command("ps")
    .description("Lists containers: those that run, or all.")
    .option("-a, --all", "those that do not run, too")
    .option("-l, --latest", "only the one that was made last")
    .option(
      "-f, --filter <name=value>",
      "name, id, status, label, ancestor, health, network, volume, exited",
      collect,
      [],
    )
    .addOption(new Option("--last <number>", "only so many that were made last"));
  addListFlags(command).action(async (flags: PsFlags) => {
    await withApi(command, async ({ api, namespace }) => {
      await (await import("./container/list.ts")).list(api, namespace, flags);
    });
  });
}
