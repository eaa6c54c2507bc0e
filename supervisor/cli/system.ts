/** `berth system info|df|prune`, and `berth info`. */

import type { Command } from "commander";
import { withApi } from "./connect.ts";
import type { DfFlags } from "./host/df.ts";
import { addListFlags } from "./output/list.ts";
import { addPrune } from "./prune.ts";

/** Adds `info` to a command. */
function addInfo(parent: Command): void {
  parent
    .command("info")
    .description("show what daemon and machine are, and what runs")
    .option("-f, --format <format>", "json, or a template such as '{{.ServerVersion}}'")
    .action(({ format }: { format?: string }, self: Command) =>
      withApi(self, async (connection) => (await import("./host/info.ts")).info(connection, format)),
    );
}

export function register(program: Command): void {
  const system = program.command("system").description("this machine: info, df, prune");
  addInfo(system);
  addInfo(program);
  addPrune(system);
  addListFlags(system.command("df").description("show what takes room on the disk, and what could go"))
    .option("-v, --verbose", "image by image, container by container")
    .action((flags: DfFlags, self: Command) =>
      withApi(self, async (connection) => (await import("./host/df.ts")).diskUsage(connection, flags)),
    );
}
