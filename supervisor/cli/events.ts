/** `berth events`: what happens, as it happens. */

import type { Command } from "commander";
import { withApi } from "./connect.ts";
import type { EventsFlags } from "./host/events.ts";
import { collect } from "./image/flags.ts";

export function register(program: Command): void {
  program
    .command("events")
    .description("print what happens to containers and images, as it happens")
    .option("-f, --filter <filter>", "type=, event=, container=, image=, topic=; may be given several times", collect)
    .option("--format <format>", "json (an object a line), or a template such as '{{.Type}} {{.Action}} {{.ID}}'")
    .option("--until <time>", "end at this time")
    .option("-A, --all-namespaces", "of every namespace")
    .action((flags: EventsFlags, self: Command) =>
      withApi(self, async (connection) => (await import("./host/events.ts")).events(connection, flags)),
    );
}
