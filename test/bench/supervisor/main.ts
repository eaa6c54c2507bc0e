/** `supervisor`: berthd beside containerd, in one run. */

import { parseArgs } from "node:util";
import { builtBerthd } from "../../lib/berthd.ts";
import { Comparison, comparisonOptions, comparisonUsage } from "../comparison.ts";
import { versionOf } from "../machine.ts";
import { inTurns } from "../turns.ts";
import { measureMany, measureMemory, measureRun } from "./containers.ts";
import { figures, fullScale, type MeasurementName, measurementNames, quickScale } from "./figures.ts";
import { measureImport, measurePull } from "./images.ts";
import { type Bench, Rig } from "./rig.ts";
import { fillContainers, measureEvents, measureLists } from "./store.ts";

const parts = { bench: "supervisor", figures, names: measurementNames, full: fullScale, quick: quickScale };

export const usage = `usage: npm run bench -- supervisor [OPTION...]
${comparisonUsage("fewer repetitions and a smaller image", parts)}`;

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
  const { values } = parseArgs({ args: [...args], options: comparisonOptions });
  const comparison = new Comparison(parts, args, values);
  const { scale, samples, say } = comparison;
  const rig = await Rig.open(await comparison.begin());
  comparison.closeOnSignal(() => rig.close());
  const { subjects } = rig;
  try {
    await comparison.measure((name) => measurements[name]({ rig, subjects, scale, samples, say }));
  } finally {
    await rig.close();
  }
  const paths = [Bun.which("containerd") ?? "", builtBerthd];
  return comparison.print(
    { ctr: versionOf(["ctr", "--version"]), runc: versionOf(["runc", "--version"]) },
    subjects.map(({ name }, index) => {
      const path = paths[index] ?? "";
      return { name, path, version: versionOf([path, "--version"]) };
    }),
  );
}
