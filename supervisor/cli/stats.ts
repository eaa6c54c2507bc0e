/** `berth stats`: what containers use, live. */

import type { Command } from "commander";
import { withApi } from "./connect.ts";
import type { StatsFlags } from "./host/stats.ts";

export function register(program: Command): void {
  program
    .command("stats")
    .description("show CPU, memory, network and disk use of containers, live")
    .argument("[container...]", "all that run unless told")
    .option("-a, --all", "containers that do not run, too")
    .option("--no-stream", "once, and not live")
    .option("--format <format>", "table, json (an object a line), or a template such as '{{.Name}} {{.CPUPerc}}'")
    .option("--no-trunc", "do not shorten names")
    .action((ids: string[], flags: StatsFlags, self: Command) =>
      withApi(self, async (connection) => (await import("./host/stats.ts")).stats(connection, ids, flags)),
    );
}
