/** `berth update` and `berth rename`. */

import type { Command } from "commander";
import { withApi, withStatus } from "./connect.ts";
import type { UpdateFlags } from "./container/update.ts";
import { FAILED } from "./status.ts";

export function register(program: Command): void {
  const update = program
    .command("update")
    .description("Changes limits and the restart policy of containers, also of those that run.")
    .argument("<container...>", "names of containers")
    .option("-m, --memory <size>", "memory at most")
    .option("--memory-swap <size>", "memory and swap together; -1 for any")
    .option("--memory-reservation <size>", "memory that it keeps when memory is short")
    .option("--cpus <number>", "CPUs' time at most, such as 1.5")
    .option("-c, --cpu-shares <shares>", "its part when CPUs are short")
    .option("--cpu-quota <microseconds>", "CPU time in a period")
    .option("--cpu-period <microseconds>", "a period")
    .option("--cpuset-cpus <list>", "CPUs that it may use")
    .option("--cpuset-mems <list>", "memory nodes that it may use")
    .option("--pids-limit <number>", "processes at most; -1 for any")
    .option("--restart <policy>", "no, always, on-failure[:TIMES] or unless-stopped")
    .action(async (ids: string[], flags: UpdateFlags) => {
      await withApi(update, async (connection) => {
        return await (await import("./container/update.ts")).update(connection, ids, flags);
      });
    });
  const rename = program
    .command("rename")
    .description("Says why a container keeps its name.")
    .argument("[name...]")
    .action(async () => {
      await withStatus(rename, FAILED, async () => {
        throw new Error(
          "a container's name is its id, which its snapshot, cgroup, log and network go by: it stays. Make another one with " +
            "berth run --name, or berth commit it and run that",
        );
      });
    });
}
