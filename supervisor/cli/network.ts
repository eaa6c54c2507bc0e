/** `berth network`: networks of containers, which are conflists of CNI. */

import type { Command } from "commander";
import { withApi } from "./connect.ts";
import { collect } from "./image/flags.ts";
import type { CreateFlags } from "./network/create.ts";
import { addListFlags, type ListFlags } from "./output/list.ts";

export function register(program: Command): void {
  const network = program.command("network").description("make, look at and remove networks");
  addListFlags(network.command("ls").alias("list").description("list networks")).action(
    (flags: ListFlags, self: Command) =>
      withApi(self, async (connection) => (await import("./network/list.ts")).list(connection, flags)),
  );
  network
    .command("create")
    .description("make a network: its file; interfaces come with its first container")
    .argument("<name>")
    .option("-d, --driver <driver>", "bridge, macvlan or ipvlan", "bridge")
    .option("--subnet <subnet>", "such as 10.1.0.0/24; one of IPv4 and one of IPv6 at most", collect)
    .option("--gateway <address>", "address of the host in the subnet; the first one unless told", collect)
    .option("--internal", "containers reach each other, and nothing else")
    .option("--ipv6", "addresses of IPv6, too")
    .option("--parent <interface>", "interface of the host that macvlan and ipvlan are on")
    .option("--mtu <bytes>", "of the interfaces")
    .option("--label <name=value>", "of the network", collect)
    .option(
      "-o, --opt <name=value>",
      "docker's spelling: parent=INTERFACE, com.docker.network.driver.mtu=BYTES",
      collect,
    )
    .action((name: string, flags: CreateFlags, self: Command) =>
      withApi(self, async (connection) => (await import("./network/create.ts")).create(connection, name, flags)),
    );
  network
    .command("rm")
    .alias("remove")
    .description("remove networks that no container is made with, with their bridges and rules")
    .argument("<name...>")
    .action((names: string[], _flags: unknown, self: Command) =>
      withApi(self, async (connection) => (await import("./network/remove.ts")).remove(connection, names)),
    );
  network
    .command("inspect")
    .description("print all that is known of networks as JSON")
    .argument("<name...>")
    .action((names: string[], _flags: unknown, self: Command) =>
      withApi(self, async (connection) => (await import("./network/list.ts")).inspect(connection, names)),
    );
  network
    .command("prune")
    .description("remove networks of berth's that no container is made with, but for the default one")
    .option("-f, --force", "do not ask")
    .action((flags: { force?: boolean }, self: Command) =>
      withApi(self, async (connection) => (await import("./image/prune.ts")).prune(connection, flags, ["networks"])),
    );
  network
    .command("check")
    .description("see whether plugins, interfaces, rules and addresses are as they should be; exit status 1 when not")
    .action((_flags: unknown, self: Command) =>
      withApi(self, async (connection) => (await import("./network/check.ts")).check(connection)),
    );
}
