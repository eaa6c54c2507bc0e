/** `berth doctor`: what is wrong with this machine, and what to do. */

import type { Command } from "commander";
import { placeOf, withStatus } from "./connect.ts";
import { FAILED } from "./status.ts";

interface DoctorFlags {
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly root: string;
  readonly state: string;
}

export function register(program: Command): void {
  program
    .command("doctor")
    .description("look at kernel, cgroups, runc, CNI, disk, clock and daemon, and say what to do")
    .option("--json", "print JSON")
    .option("-q, --quiet", "only print what is not well")
    .option("--root <directory>", "where the daemon keeps what it has", "/var/lib/berth")
    .option("--state <directory>", "where the daemon keeps what need not survive a reboot", "/run/berth")
    .action((flags: DoctorFlags, self: Command) =>
      withStatus(self, FAILED, async () => {
        const { address } = placeOf(self);
        const { root, state } = flags;
        return (await import("./host/doctor.ts")).doctor({ address, root, state, prefix: "" }, flags);
      }),
    );
}
