/** `berth exec`: runs a command in a container that runs. */

import type { Command } from "commander";
import { withApi } from "./connect.ts";
import type { ExecFlags } from "./container/exec.ts";

const collect = (value: string, before: string[]): string[] => [...before, value];

export function register(program: Command): void {
  const command = program
    .command("exec")
    .description("Runs a command in a container that runs; its exit status is berth's.")
    .argument("<container>", "its name")
    .argument("<command...>", "what to run")
    .passThroughOptions()
    .option("-d, --detach", "do not wait for it")
    .option("-i, --interactive", "what is typed goes in")
    .option("-t, --tty", "give it a terminal")
    .option("-e, --env <name=value>", "set a variable", collect, [])
    .option("--env-file <file>", "set the variables of a file", collect, [])
    .option("-u, --user <user>", "run as USER[:GROUP] (the container's)")
    .option("-w, --workdir <path>", "working directory (the container's)")
    .option("--privileged", "with all capabilities")
    .option("--detach-keys <keys>", "keys that leave it running", "ctrl-p,ctrl-q")
    .action(async (id: string, args: string[], flags: ExecFlags) => {
      await withApi(command, async (connection) => {
        return await (await import("./container/exec.ts")).exec(connection, id, args, flags);
      });
    });
}
