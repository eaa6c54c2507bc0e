/** `berth top`: the whole node, live; `berth top CONTAINER`: the processes of one container. */

import type { Command } from "commander";
import { withApi } from "./connect.ts";

export function register(program: Command): void {
  program
    .command("top")
    .description("show this machine's containers live, or the processes of one container")
    .argument("[container]")
    .option("--sort <column>", "name, cpu, memory or restarts")
    .option("--format <format>", "of processes: table, json (an object a line), or a template such as '{{.PID}}'")
    .action((id: string | undefined, flags: { sort?: string; format?: string }, self: Command) =>
      withApi(self, async (connection) => {
        if (id !== undefined) return (await import("./host/processes.ts")).processes(connection, id, flags);
        const isGiven = (self.optsWithGlobals() as { namespace?: string }).namespace !== undefined;
        return (await import("./host/top.ts")).top(connection, isGiven, flags.sort);
      }),
    );
}
