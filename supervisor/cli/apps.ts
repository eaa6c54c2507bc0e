/** `berth apps`: which applications there are, and how they do. */

import type { Command } from "commander";
import { withApi } from "./connect.ts";
import { addListFlags, type ListFlags } from "./output/list.ts";

export function register(program: Command): void {
  const apps = program
    .command("apps")
    .description("applications: ls, show, rm (made by apply, or by files in /etc/berth/apps)");
  addListFlags(apps.command("ls", { isDefault: true }).description("list applications")).action(
    (flags: ListFlags, self: Command) =>
      withApi(self, async (connection) => (await import("./app/list.ts")).listApplications(connection, flags)),
  );
  apps
    .command("show")
    .description("show an application: its containers, its revisions, what is wrong")
    .argument("<app>")
    .option("--format <format>", "text, json, or yaml (the file of the current revision)", "text")
    .action((name: string, flags: { format: string }, self: Command) =>
      withApi(self, async (connection) =>
        (await import("./app/show.ts")).showApplication(connection, name, flags.format),
      ),
    );
  apps
    .command("rm")
    .description("remove applications with their containers and networks; volumes stay")
    .argument("<app...>")
    .option("--volumes", "remove their volumes, too")
    .option("-q, --quiet", "do not tell what happens on the way")
    .action((names: string[], flags: { volumes?: boolean; quiet?: boolean }, self: Command) =>
      withApi(self, async (connection) =>
        (await import("./app/apply.ts")).removeApplications(connection, names, flags),
      ),
    );
}
