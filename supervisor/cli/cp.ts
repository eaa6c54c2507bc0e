/** `berth cp`: files between this machine and a container. */

import type { Command } from "commander";
import { withApi } from "./connect.ts";
import type { CopyFlags } from "./files/copy.ts";

export function register(program: Command): void {
  program
    .command("cp")
    .description("copy files between this machine and a container, which need not run; - is a tar archive")
    .argument("<source>", "CONTAINER:PATH, a path, or - for an archive on standard input")
    .argument("<target>", "CONTAINER:PATH, a path, or - for an archive on standard output")
    .option("-a, --archive", "keep owners, devices and set-id bits")
    .option("-L, --follow-link", "copy what a link leads to")
    .option("-q, --quiet", "for docker's sake: nothing is printed")
    .action((from: string, to: string, flags: CopyFlags, self: Command) =>
      withApi(self, async (connection) => (await import("./files/copy.ts")).copy(connection, from, to, flags)),
    );
}
