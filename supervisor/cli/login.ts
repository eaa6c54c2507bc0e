/** `berth login` and `logout`: credentials for registries, kept where docker keeps them. */

import type { Command } from "commander";
import { withStatus } from "./connect.ts";
import type { LoginFlags } from "./image/login.ts";
import { FAILED } from "./status.ts";

export function register(program: Command): void {
  program
    .command("login")
    .description("log in to a registry, and keep the credentials in ~/.docker/config.json")
    .argument("[server]", "host[:port]", "docker.io")
    .option("-u, --username <name>")
    .option("-p, --password <password>", "others may see it in the list of processes: --password-stdin is better")
    .option("--password-stdin", "read the password from standard input")
    .option("--plain-http", "speak HTTP without TLS")
    .option("--insecure", "do not verify the registry's certificate")
    .action((server: string, flags: LoginFlags, self: Command) =>
      withStatus(self, FAILED, async () => (await import("./image/login.ts")).login(server, flags)),
    );
  program
    .command("logout")
    .description("forget the credentials of a registry")
    .argument("[server]", "host[:port]", "docker.io")
    .action((server: string, _: unknown, self: Command) =>
      withStatus(self, FAILED, async () => (await import("./image/login.ts")).logout(server)),
    );
}
