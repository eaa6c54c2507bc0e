/** `supervisor`: berthd beside containerd, in one run. */

import { parseArgs } from "node:util";
import { builtBerthd } from "../../lib/berthd.ts";
import { openDisk } from "../disk.ts";
import { parseOnly, parseScale, Samples } from "../figure.ts";
import { describeMachine, loadAverage, versionOf } from "../machine.ts";
import { formatJson, formatMarkdown, formatTable, makeRows, type Report } from "../report.ts";
import { inTurns } from "../turns.ts";
import { measureMany, measureMemory, measureRun } from "./containers.ts";
import { figures, fullScale, type MeasurementName, measurementNames, quickScale } from "./figures.ts";
import { measureImport, measurePull } from "./images.ts";
import { type Bench, Rig } from "./rig.ts";
import { fillContainers, measureEvents, measureLists } from "./store.ts";

export const usage = `usage: npm run bench -- supervisor [OPTION...]
  --quick            fewer repetitions and a smaller image: a look, not a proof
  --only NAME,...    of ${measurementNames.join(", ")}
  --json             all samples, for programs
  --markdown         the table as Markdown
  --scale KEY=N,...  sizes other than the usual: ${Object.keys(fullScale).join(", ")}`;

const measurements: Record<MeasurementName, (bench: Bench) => Promise<void>> = {
  memory: measureMemory,
  run: measureRun,
  many: measureMany,
  import: measureImport,
  pull: measurePull,
  async lists({ subjects, scale, samples }) {
    for (const { name, daemon } of subjects) {
      samples.add("create", name, (await fillContainers(daemon.address, scale.listContainers)) / 1000);
    }
    // Many reads each: their medians are the samples of two turns.
    await inTurns(subjects, 2, async ({ name, daemon }, record) => {
      const { list, get, filtered } = await measureLists(daemon.address, scale.listContainers, scale.listRepeats);
      if (!record) return;
      samples.add("list", name, list / 1000);
      samples.add("get", name, get / 1000);
      samples.add("filtered", name, filtered / 1000);
    });
  },
  async events({ subjects, scale, samples }) {
    await inTurns(subjects, scale.eventPairs, async ({ name, daemon }, record) => {
      const rate = await measureEvents(daemon.address, scale.events);
      if (record) samples.add("events", name, rate);
    });
  },
};

/**
 * Runs the bench and prints its report on stdout; progress goes to stderr.
 *
 * @throws UsageError for a wrong command line
 * @returns false when a measurement failed; the report says how
 * @throws Error when a daemon cannot be started
 */
export async function benchSupervisor(args: readonly string[]): Promise<boolean> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      markdown: { type: "boolean", default: false },
      only: { type: "string" },
      scale: { type: "string" },
    },
  });
  const names = parseOnly(measurementNames, values.only);
  const scale = parseScale(values.quick ? quickScale : fullScale, values.scale);
  const disk = await openDisk();
  const machine = await describeMachine(disk.description);
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
  const { subjects } = rig;
  try {
    for (const name of names) {
      say(name);
      try {
        await measurements[name]({ rig, subjects, scale, samples, say });
      } catch (error) {
        // The other measurements still have something to say; this one's figures may lack samples.
        failures.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
        say(failures.at(-1) ?? "");
      }
    }
  } finally {
    await rig.close();
  }
  const paths = [Bun.which("containerd") ?? "", builtBerthd];
  const report: Report = {
    bench: "supervisor",
    date: new Date().toISOString().slice(0, 10),
    quick: values.quick,
    command: `npm run bench -- supervisor ${args.join(" ")}`.trim(),
    machine,
    loadAtEnd: loadAverage(),
    versions: { ctr: versionOf(["ctr", "--version"]), runc: versionOf(["runc", "--version"]) },
    runtimes: subjects.map(({ name }, index) => {
      const path = paths[index] ?? "";
      return { name, path, version: versionOf([path, "--version"]) };
    }),
    scale: { ...scale },
    seconds: (performance.now() - begin) / 1000,
    failures,
    rows: makeRows(
      figures,
      samples,
      subjects.map(({ name }) => name),
    ),
  };
  const format = values.json ? formatJson : values.markdown ? formatMarkdown : formatTable;
  process.stdout.write(format(report));
  return failures.length === 0;
}
