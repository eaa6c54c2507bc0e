/** Many containers started at once and torn down at once: through containerd with ctr, and shims alone. */

import { type Bench, each, freshId, inPairs, seconds } from "./measure.ts";
import type { Runtime } from "./rig.ts";
import { Shim } from "./shim.ts";

/** ctr and shims alone, in pairs. */
export async function measureMany(bench: Bench): Promise<void> {
  await inPairs(bench, bench.scale.manyPairs, (runtime, record) => throughContainerd(bench, runtime, record));
  await inPairs(bench, bench.scale.manyPairs, (runtime, record) => alone(bench, runtime, record));
}

async function throughContainerd(bench: Bench, runtime: Runtime, record: boolean): Promise<void> {
  const { rig, samples, scale } = bench;
  const ids = Array.from({ length: scale.manyContainers }, () => freshId(runtime));
  const atOnce = (work: (id: string) => Promise<unknown>): Promise<number> => {
    return seconds(() => each(ids, ids.length, work));
  };
  await each(ids, 4, async (id) => {
    rig.register(id);
    await rig.ctr(["container", "create", ...rig.containerFlags(runtime), rig.image, id, "sleep", "1000"]);
  });
  const up = await atOnce((id) => rig.ctr(["task", "start", "--detach", "--fifo-dir", rig.daemon.fifoDir, id]));
  const { stdout } = await rig.ctr(["task", "ls"]);
  const running = ids.filter((id) => new RegExp(`^${id}\\s+\\d+\\s+RUNNING`, "m").test(stdout));
  if (running.length !== ids.length) {
    throw new Error(`${runtime.name}: ${running.length} of ${ids.length} containers run:\n${stdout}`);
  }
  const down = await atOnce((id) => rig.ctr(["task", "rm", "--force", id]));
  await each(ids, 4, (id) => rig.ctr(["container", "rm", id]));
  if (record) {
    samples.add("many", runtime.name, up);
    samples.add("many-down", runtime.name, down);
  }
}

async function alone(bench: Bench, runtime: Runtime, record: boolean): Promise<void> {
  const { rig, samples, scale } = bench;
  const shims = Array.from({ length: scale.manyContainers }, () => {
    return new Shim(rig, runtime, freshId(runtime), ["sleep", "1000"]);
  });
  const up = await seconds(() => each(shims, shims.length, (shim) => shim.launch()));
  const down = await seconds(() => each(shims, shims.length, (shim) => shim.end()));
  if (record) {
    samples.add("many-direct", runtime.name, up);
    samples.add("many-direct-down", runtime.name, down);
  }
}
