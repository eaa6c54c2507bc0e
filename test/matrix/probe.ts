/** Says in one line of JSON where it runs: the versions that a row of the matrix stands for. Usage: bun probe.ts */

import { existsSync, readFileSync } from "node:fs";
import { isCgroup2 } from "../lib/cgroup.ts";
import { run } from "../lib/command.ts";

/** What a row turned out to be. */
export interface Where {
  containerd: string;
  /** The program that answers to the name runc. */
  runc: string;
  cgroup: "v1" | "v2";
  kernel: string;
  controllers: string;
  pressure: boolean;
}

async function firstLine(argv: readonly string[]): Promise<string> {
  return (await run(argv, { check: true })).stdout.split("\n")[0] ?? "";
}

if (import.meta.main) {
  const unified = isCgroup2();
  const where: Where = {
    containerd: (await firstLine(["containerd", "--version"])).split(" ")[2] ?? "?",
    runc: (await firstLine(["runc", "--version"])).replace(" version", ""),
    cgroup: unified ? "v2" : "v1",
    kernel: await firstLine(["uname", "-r"]),
    controllers: unified ? readFileSync("/sys/fs/cgroup/cgroup.controllers", "utf8").trim() : "",
    pressure: existsSync("/proc/pressure/cpu"),
  };
  console.log(JSON.stringify(where));
  // The limits of the commands above would hold this process for as long as they are.
  process.exit(0);
}
