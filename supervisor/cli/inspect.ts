/** `berth inspect` and `berth port`. */

import { type Command, Option } from "commander";
import { withApi } from "./connect.ts";

export function register(program: Command): void {
  const inspect = program
    .command("inspect")
    .description("Tells all about containers and images, as JSON.")
    .argument("<name...>", "names of containers or images")
    .option("--format <template>", "such as '{{.State.Status}}'; json for a line each")
    .addOption(new Option("--type <kind>", "only look for this").choices(["container", "image"]))
    .action(async (names: string[], flags: { format?: string; type?: string }) => {
      await withApi(inspect, async (connection) => {
        return await (await import("./container/inspect.ts")).inspect(connection, names, flags);
      });
    });
  const port = program
    .command("port")
    .description("Lists the ports of the host that lead to a container.")
    .argument("<container>", "its name")
    .argument("[port]", "only where this port of it is, such as 80 or 53/udp")
    .action(async (id: string, wanted: string | undefined) => {
      await withApi(port, async (connection) => {
        return await (await import("./container/inspect.ts")).port(connection, id, wanted);
      });
    });
}
