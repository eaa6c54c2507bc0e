/** `npm run bench -- NAME [OPTION...]`: the benches of berth, by name. */

import { benchBoot, usage as bootUsage } from "./boot/main.ts";
import { benchDelta, usage as deltaUsage } from "./delta/main.ts";
import { benchEdge, usage as edgeUsage } from "./edge/main.ts";
import { UsageError } from "./figure.ts";
import { benchShim, usage as shimUsage } from "./shim/main.ts";
import { benchSupervisor, usage as supervisorUsage } from "./supervisor/main.ts";

const benches: Record<string, (args: readonly string[]) => Promise<boolean>> = {
  boot: benchBoot,
  delta: benchDelta,
  edge: benchEdge,
  shim: benchShim,
  supervisor: benchSupervisor,
};
const usage = [shimUsage, supervisorUsage, bootUsage, deltaUsage, edgeUsage].join("\n");

const [name = "", ...args] = process.argv.slice(2);
const bench = benches[name];
if (bench === undefined || args.includes("--help")) {
  console.error(usage);
  process.exit(args.includes("--help") ? 0 : 2);
}
try {
  process.exit((await bench(args)) ? 0 : 1);
} catch (error) {
  // Also parseArgs says what is wrong with a command line by an error code.
  const isUsage =
    error instanceof UsageError || String((error as NodeJS.ErrnoException).code).startsWith("ERR_PARSE_ARGS");
  console.error(isUsage ? `bench: ${(error as Error).message}\n${usage}` : error);
  process.exit(isUsage ? 2 : 1);
}
