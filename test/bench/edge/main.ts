/** `edge`: berth beside docker and podman on one machine, as what looks after an edge node, in one run. */

import { join } from "node:path";
import { parseArgs } from "node:util";
import { findDocker } from "../../lib/docker.ts";
import { isolate, isolated } from "../../lib/isolate.ts";
import { closeScope } from "../../lib/scope.ts";
import { Comparison, comparisonOptions, comparisonUsage } from "../comparison.ts";
import { versionOf } from "../machine.ts";
import { BerthNode } from "./berth.ts";
import { DockerNode } from "./docker.ts";
import { figures, fullScale, type MeasurementName, measurementNames, quickScale } from "./figures.ts";
import { Images } from "./images.ts";
import { type Bench, measureBoot, measureMemory, measureRun, measureUpgrade, measureWrites } from "./measure.ts";
import type { EdgeNode } from "./node.ts";
import { findPodman, PodmanNode } from "./podman.ts";

const parts = { bench: "edge", figures, names: measurementNames, full: fullScale, quick: quickScale };

export const usage = `usage: npm run bench -- edge [OPTION...]
${comparisonUsage("fewer repetitions and a smaller image", parts)}`;

const measurements: Record<MeasurementName, (bench: Bench) => Promise<void>> = {
  memory: measureMemory,
  writes: measureWrites,
  run: measureRun,
  boot: measureBoot,
  upgrade: measureUpgrade,
};

/**
 * Runs the bench and prints its report on stdout; progress goes to stderr. Bridges and firewall rules of the nodes are in
 * a network namespace that ends with it.
 *
 * @throws UsageError for a wrong command line
 * @returns false when a measurement failed; the report says how
 */
export async function benchEdge(args: readonly string[]): Promise<boolean> {
  const { values } = parseArgs({ args: [...args], options: comparisonOptions });
  const comparison = new Comparison(parts, args, values);
  const { scale, samples, say, failures } = comparison;
  if (!isolated()) {
    // What is not installed is fetched, which needs the machine's network.
    await Promise.all([findDocker(), findPodman()]);
    return (await isolate()) === 0;
  }

  const disk = await comparison.begin();
  const nodes: EdgeNode[] = [];
  for (const node of [
    await DockerNode.make(join(disk.dir, "d"), `${disk.scope.token}-d`),
    await PodmanNode.make(join(disk.dir, "p"), `${disk.scope.token}-p`),
    new BerthNode(join(disk.dir, "b"), `${disk.scope.token}-b`),
  ]) {
    if (node instanceof Error) failures.push(node.message);
    else nodes.push(node);
  }
  const images = new Images(join(disk.dir, "i"));
  const close = async (): Promise<void> => {
    images.close();
    for (const node of nodes) node.cutPower();
    closeScope(disk.scope);
  };
  comparison.closeOnSignal(close);
  try {
    await images.open();
    for (const node of nodes) {
      await node.boot();
      await node.ready();
      await images.give(node);
    }
    await comparison.measure((name) => measurements[name]({ nodes, images, scale, samples, say }));
  } finally {
    await close();
  }
  return comparison.print(
    { runc: versionOf(["runc", "--version"]) },
    nodes.map((node) => ({ name: node.name, path: "", version: node.version() })),
  );
}
