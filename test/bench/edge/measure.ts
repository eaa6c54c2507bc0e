/** The measurements: each on all nodes, in turns where it is about time. */

import { imageName } from "../../lib/image.ts";
import type { Samples } from "../figure.ts";
import { inTurns, seconds } from "../turns.ts";
import type { Scale } from "./figures.ts";
import type { Images } from "./images.ts";
import { type EdgeNode, waitForRunning } from "./node.ts";

/** The tools of a measurement. */
export interface Bench {
  readonly nodes: readonly EdgeNode[];
  readonly images: Images;
  readonly scale: Scale;
  readonly samples: Samples;
  readonly say: (text: string) => void;
}

/** Names that no container has had before. */
let count = 0;
const freshName = (): string => `n${++count}`;

/** Something that runs for long, by which it can be told from all others. */
function sleeper(node: EdgeNode): string[] {
  return ["sleep", String(80_000_000 + node.name.charCodeAt(0))];
}

interface Fleet {
  readonly network?: boolean;
  readonly health?: boolean;
}

/** Starts containers that a boot brings up again. @returns their names */
async function startFleet(node: EdgeNode, size: number, { network = false, health = false }: Fleet): Promise<string[]> {
  const names = Array.from({ length: size }, freshName);
  for (const name of names) {
    const command = sleeper(node);
    await node.runDetached({ name, image: imageName, command, restart: true, network, health });
  }
  await waitForRunning(sleeper(node), size);
  return names;
}

/** `run --rm` of a program that does nothing, with and without a network. */
export async function measureRun({ nodes, scale, samples }: Bench): Promise<void> {
  const command = ["true"];
  for (const [figure, network] of [["run", false] as const, ["run-network", true] as const]) {
    await inTurns(nodes, scale.runPairs, async (node, record) => {
      const time = await node.runOnce({ name: freshName(), image: imageName, command, network });
      if (record) samples.add(figure, node.name, time);
    });
  }
  await inTurns(nodes, scale.runPairs, async (node, record) => {
    const name = freshName();
    const time = await node.runDetached({ name, image: imageName, command: sleeper(node), network: true });
    await node.remove([name]);
    if (record) samples.add("run-detached", node.name, time);
  });
}

/** Memory of what looks after containers: of a node that was just booted, and with twenty of them. */
export async function measureMemory({ nodes, scale, samples }: Bench): Promise<void> {
  const settle = (): Promise<void> => Bun.sleep(scale.settle * 1000);
  for (const node of nodes) {
    node.cutPower();
    await node.boot();
    await node.ready();
  }
  await settle();
  for (const node of nodes) samples.add("idle", node.name, node.memory());
  for (const node of nodes) {
    const names = await startFleet(node, scale.containers, { network: true });
    await settle();
    samples.add("twenty", node.name, node.memory());
    await node.remove(names);
  }
}

/** Bytes that an idle node writes to its disk, with and without health checks. All nodes idle side by side. */
export async function measureWrites({ nodes, scale, samples, say }: Bench): Promise<void> {
  for (const [figure, health] of [["written", false] as const, ["written-checks", true] as const]) {
    const fleets = new Map<EdgeNode, string[]>();
    for (const node of nodes) fleets.set(node, await startFleet(node, scale.containers, { network: true, health }));
    await Bun.sleep(scale.settle * 1000);
    const before = new Map(nodes.map((node) => [node, node.written()]));
    say(`${figure}: counting for ${scale.writesFor} s`);
    await Bun.sleep(scale.writesFor * 1000);
    for (const node of nodes) {
      let bytes = 0;
      // What ended meanwhile has taken its count along; a check's process lives for milliseconds and writes nothing.
      for (const [pid, now] of node.written()) bytes += now - (before.get(node)?.get(pid) ?? 0);
      samples.add(figure, node.name, (bytes / 1000) * (3600 / scale.writesFor));
    }
    for (const [node, names] of fleets) await node.remove(names);
  }
}

/** From the boot of the machine until every container that is to run does. */
export async function measureBoot({ nodes, scale, samples }: Bench): Promise<void> {
  const sizes = [
    ["boot", scale.bootContainers, false],
    ["boot-network", scale.networkContainers, true],
  ] as const;
  for (const [figure, size, network] of sizes) {
    for (const node of nodes) {
      const names = await startFleet(node, size, { network });
      for (let pair = 0; pair < scale.bootPairs; pair++) {
        node.cutPower();
        const time = await seconds(async () => {
          await node.boot();
          await waitForRunning(sleeper(node), size);
        });
        samples.add(figure, node.name, time);
      }
      await node.ready();
      await node.remove(names);
    }
  }
}

/** Bytes that an upgrade takes over the network. */
export async function measureUpgrade({ nodes, images, scale, samples }: Bench): Promise<void> {
  const pair = await images.pair(scale.imageBytes, scale.imageFiles);
  for (const node of nodes) {
    const counted = async (reference: string): Promise<[kilobytes: number, seconds: number]> => {
      const before = images.sent;
      const time = await seconds(() => node.pull(reference));
      return [(images.sent - before) / 1000, time];
    };
    await pair.publish("old");
    const [full] = await counted(pair.reference);
    await pair.publish("new");
    const [upgrade, time] = await counted(pair.reference);
    samples.add("upgrade-full", node.name, full);
    samples.add("upgrade", node.name, upgrade);
    samples.add("upgrade-time", node.name, time);
  }
}
