/** `shim`: berth's shim beside containerd's own, in one run. */

import { existsSync } from "node:fs";
import { isAbsolute, resolve } from "node:path";
import { parseArgs } from "node:util";
import { builtShim } from "../../lib/paths.ts";
import { openDisk } from "../disk.ts";
import { parseOnly, parseScale, Samples, UsageError } from "../figure.ts";
import { describeMachine, loadAverage, versionOf } from "../machine.ts";
import { formatJson, formatMarkdown, formatTable, makeRows, type Report, type ReportedRuntime } from "../report.ts";
import { figures, fullScale, type MeasurementName, measurementNames, quickScale } from "./figures.ts";
import { measureBurst, measureIdle, measureLeak } from "./idle.ts";
import { measureCrash, measureExec, measureLife, measureRun } from "./latency.ts";
import { measureLogs } from "./logs.ts";
import { measureMany } from "./many.ts";
import type { Bench } from "./measure.ts";
import { Rig, type Runtime } from "./rig.ts";
import { measureThroughput } from "./throughput.ts";

export const usage = `usage: npm run bench -- shim [OPTION...]
  --quick            fewer repetitions and shorter waits: a look, not a proof
  --only NAME,...    of ${measurementNames.join(", ")}
  --runtimes A=PATH,B=PATH
                     other shims than go (the reference) and berth; the last is judged by the first
  --json             all samples, for programs
  --markdown         the table as Markdown
  --scale KEY=N,...  sizes other than the usual: ${Object.keys(fullScale).join(", ")}`;

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
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      markdown: { type: "boolean", default: false },
      only: { type: "string" },
      runtimes: { type: "string" },
      scale: { type: "string" },
    },
  });
  const runtimes = parseRuntimes(values.runtimes);
  const names = parseOnly(measurementNames, values.only);
  const scale = parseScale(values.quick ? quickScale : fullScale, values.scale);
  const disk = await openDisk();
  const machine = await describeMachine(disk.description);
  const versions = { containerd: versionOf(["containerd", "--version"]), runc: versionOf(["runc", "--version"]) };
  const begin = performance.now();
  const say = (text: string): void =>
    console.error(`bench ${Math.round((performance.now() - begin) / 1000)} s: ${text}`);
  const samples = new Samples();
  const failures: string[] = [];
  const rig = await Rig.open(disk);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.once(signal, () => {
      say(`${signal}: cleaning up`);
      rig.close().finally(() => process.exit(1));
    });
  }
  try {
    for (const name of names) {
      say(name);
      try {
        await measurements[name]({ rig, runtimes, scale, samples, say });
      } catch (error) {
        // The other measurements still have something to say; this one's figures may lack samples.
        failures.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
        say(failures.at(-1) ?? "");
      }
    }
  } finally {
    await rig.close();
  }
  const report: Report = {
    bench: "shim",
    date: new Date().toISOString().slice(0, 10),
    quick: values.quick,
    command: `npm run bench -- shim ${args.join(" ")}`.trim(),
    machine,
    loadAtEnd: loadAverage(),
    versions,
    runtimes: runtimes.map(describeRuntime),
    scale: { ...scale },
    seconds: (performance.now() - begin) / 1000,
    failures,
    rows: makeRows(
      figures,
      samples,
      runtimes.map(({ name }) => name),
    ),
  };
  const format = values.json ? formatJson : values.markdown ? formatMarkdown : formatTable;
  process.stdout.write(format(report));
  return failures.length === 0;
}
