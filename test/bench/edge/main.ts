/** `edge`: berth beside docker and podman on one machine, as what looks after an edge node, in one run. */

import { join } from "node:path";
import { parseArgs } from "node:util";
import { findDocker } from "../../lib/docker.ts";
import { isolate, isolated } from "../../lib/isolate.ts";
import { closeScope } from "../../lib/scope.ts";
import { openDisk } from "../disk.ts";
import { parseOnly, parseScale, Samples } from "../figure.ts";
import { describeMachine, loadAverage, versionOf } from "../machine.ts";
import { formatJson, formatMarkdown, formatTable, makeRows, type Report } from "../report.ts";
import { BerthNode } from "./berth.ts";
import { DockerNode } from "./docker.ts";
import { figures, fullScale, type MeasurementName, measurementNames, quickScale } from "./figures.ts";
import { Images } from "./images.ts";
import { type Bench, measureBoot, measureMemory, measureRun, measureUpgrade, measureWrites } from "./measure.ts";
import type { EdgeNode } from "./node.ts";
import { findPodman, PodmanNode } from "./podman.ts";

export const usage = `usage: npm run bench -- edge [OPTION...]
  --quick            fewer repetitions and a smaller image: a look, not a proof
  --only NAME,...    of ${measurementNames.join(", ")}
  --json             all samples, for programs
  --markdown         the table as Markdown
  --scale KEY=N,...  sizes other than the usual: ${Object.keys(fullScale).join(", ")}`;

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
  if (!isolated()) {
    // What is not installed is fetched, which needs the machine's network.
    await Promise.all([findDocker(), findPodman()]);
    return (await isolate()) === 0;
  }

  const disk = await openDisk();
  const machine = await describeMachine(disk.description);
  const begin = performance.now();
  const say = (text: string): void =>
    console.error(`bench ${Math.round((performance.now() - begin) / 1000)} s: ${text}`);
  const samples = new Samples();
  const failures: string[] = [];
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
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.once(signal, () => {
      say(`${signal}: cleaning up`);
      close().finally(() => process.exit(1));
    });
  }
  try {
    await images.open();
    for (const node of nodes) {
      await node.boot();
      await node.ready();
      await images.give(node);
    }
    for (const name of names) {
      say(name);
      try {
        await measurements[name]({ nodes, images, scale, samples, say });
      } catch (error) {
        failures.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
        say(failures.at(-1) ?? "");
      }
    }
  } finally {
    await close();
  }
  const report: Report = {
    bench: "edge",
    date: new Date().toISOString().slice(0, 10),
    quick: values.quick,
    command: `npm run bench -- edge ${args.join(" ")}`.trim(),
    machine,
    loadAtEnd: loadAverage(),
    versions: { runc: versionOf(["runc", "--version"]) },
    runtimes: nodes.map((node) => ({ name: node.name, path: "", version: node.version() })),
    scale: { ...scale },
    seconds: (performance.now() - begin) / 1000,
    failures,
    rows: makeRows(
      figures,
      samples,
      nodes.map(({ name }) => name),
    ),
  };
  const format = values.json ? formatJson : values.markdown ? formatMarkdown : formatTable;
  process.stdout.write(format(report));
  return failures.length === 0;
}
