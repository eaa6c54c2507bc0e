/** `shim`: berth's shim beside containerd's own, in one run. */

import { existsSync } from "node:fs";
import { isAbsolute, resolve } from "node:path";
import { parseArgs } from "node:util";
import { builtShim } from "../../lib/paths.ts";
import { Comparison, comparisonOptions, comparisonUsage } from "../comparison.ts";
import { UsageError } from "../figure.ts";
import { versionOf } from "../machine.ts";
import type { ReportedRuntime } from "../report.ts";
import { figures, fullScale, type MeasurementName, measurementNames, quickScale } from "./figures.ts";
import { measureBurst, measureIdle, measureLeak } from "./idle.ts";
import { measureCrash, measureExec, measureLife, measureRun } from "./latency.ts";
import { measureLogs } from "./logs.ts";
import { measureMany } from "./many.ts";
import type { Bench } from "./measure.ts";
import { Rig, type Runtime } from "./rig.ts";
import { measureThroughput } from "./throughput.ts";

const parts = { bench: "shim", figures, names: measurementNames, full: fullScale, quick: quickScale };

export const usage = `usage: npm run bench -- shim [OPTION...]
${comparisonUsage("fewer repetitions and shorter waits", parts, [
  "  --runtimes A=PATH,B=PATH",
  "                     other shims than go (the reference) and berth; the last is judged by the first",
])}`;

const measurements: Record<MeasurementName, (bench: Bench) => Promise<void>> = {
  run: measureRun,
  life: measureLife,
  crash: measureCrash,
  exec: measureExec,
  many: measureMany,
  throughput: measureThroughput,
  logs: measureLogs,
  idle: measureIdle,
  leak: measureLeak,
  burst: measureBurst,
};

function parseRuntimes(text: string | undefined): Runtime[] {
  const reference = Bun.which("containerd-shim-runc-v2");
  const list = text ?? `go=${reference ?? ""},berth=${builtShim}`;
  const runtimes = list.split(",").map((pair) => {
    const [name = "", path = ""] = pair.split("=");
    return { name, path: path === "" || isAbsolute(path) ? path : resolve(path) };
  });
  for (const { name, path } of runtimes) {
    if (!/^[a-z][a-z0-9]*$/.test(name) || !existsSync(path)) {
      throw new UsageError(`no shim for ${JSON.stringify(name)} at ${JSON.stringify(path)}`);
    }
  }
  if (new Set(runtimes.map(({ name }) => name)).size !== runtimes.length) {
    throw new UsageError("two runtimes have one name");
  }
  return runtimes;
}

function describeRuntime(runtime: Runtime): ReportedRuntime {
  return { ...runtime, version: versionOf([runtime.path, "-v"]) };
}

/**
 * Runs the bench and prints its report on stdout; progress goes to stderr.
 *
 * @throws UsageError for a wrong command line
 * @returns false when a measurement failed, because a shim did not do what it should; the report says how
 * @throws Error when the private containerd cannot be started
 */
export async function benchShim(args: readonly string[]): Promise<boolean> {
  const options = { ...comparisonOptions, runtimes: { type: "string" } } as const;
  const { values } = parseArgs({ args: [...args], options });
  const runtimes = parseRuntimes(values.runtimes);
  const comparison = new Comparison(parts, args, values);
  const { scale, samples, say } = comparison;
  const versions = { containerd: versionOf(["containerd", "--version"]), runc: versionOf(["runc", "--version"]) };
  const rig = await Rig.open(await comparison.begin());
  comparison.closeOnSignal(() => rig.close());
  try {
    await comparison.measure((name) => measurements[name]({ rig, runtimes, scale, samples, say }));
  } finally {
    await rig.close();
  }
  return comparison.print(versions, runtimes.map(describeRuntime));
}
