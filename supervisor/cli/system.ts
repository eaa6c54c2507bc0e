/** `berth system info|df|prune|evict|dashboard`, and `berth info`. */

import type { Command } from "commander";
import { withApi, withStatus } from "./connect.ts";
import type { DfFlags } from "./host/df.ts";
import type { EvictFlags } from "./host/evict.ts";
import { addListFlags } from "./output/list.ts";
import { addPrune } from "./prune.ts";
import { FAILED } from "./status.ts";

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
  const system = program.command("system").description("this machine: info, df, prune, evict, dashboard");
  addInfo(system);
  addInfo(program);
  addPrune(system);
  addListFlags(system.command("df").description("show what takes room on the disk, and what could go"))
    .option("-v, --verbose", "image by image, container by container")
    .action((flags: DfFlags, self: Command) =>
      withApi(self, async (connection) => (await import("./host/df.ts")).diskUsage(connection, flags)),
    );
  system
    .command("evict")
    .description("make room on the disk: garbage, images that nobody uses, rotated logs")
    .option("--dry-run", "only show what could go, in order")
    .option("--all", "also where there is room: until nothing is left that may go")
    .option("--format <format>", "json")
    .action((flags: EvictFlags, self: Command) =>
      withApi(self, async (connection) => (await import("./host/evict.ts")).evict(connection, flags)),
    );
  system
    .command("dashboard")
    .description("print a dashboard for Grafana, which shows the metrics of nodes")
    .action((_: unknown, self: Command) =>
      withStatus(self, FAILED, async () => (await import("./host/dashboard.ts")).dashboard()),
    );
}
