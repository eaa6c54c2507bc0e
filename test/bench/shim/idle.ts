/** What shims cost while nothing happens, and what they keep after much has happened. */

import { median } from "../statistics.ts";
import { type Bench, each, freshId } from "./measure.ts";
import { parentOf, readMemory, readSwitches, switchesBetween } from "./proc.ts";
import type { Runtime } from "./rig.ts";
import { Shim } from "./shim.ts";

/**
 * Memory and wake-ups of the shims of many idle containers, all runtimes at the same time, under containerd. Each shim
 * is one sample. Memory is read first: reading it does not wake anybody.
 */
export async function measureIdle(bench: Bench): Promise<void> {
  const { rig, runtimes, samples, scale } = bench;
  const containers = Array.from({ length: scale.idleContainers }, () =>
    runtimes.map((runtime) => ({ runtime, id: freshId(runtime) })),
  ).flat();
  await each(containers, 2, async ({ runtime, id }) => {
    rig.register(id);
    const flags = [...rig.containerFlags(runtime), "--detach", "--fifo-dir", rig.daemon.fifoDir];
    await rig.ctr(["run", ...flags, rig.image, id, "sleep", "1000"]);
  });
  const pids = taskPids((await rig.ctr(["task", "ls"])).stdout);
  const shims = containers.map(({ runtime, id }) => {
    // The shim is the subreaper, so the container's init is its child (PR-1).
    return { runtime, pid: parentOf(pids.get(id) ?? 0) };
  });
  bench.say(`idle for ${scale.idleSettle} s, then ${scale.idleWindow} s of counting wake-ups`);
  await Bun.sleep(scale.idleSettle * 1000);
  for (const { runtime, pid } of shims) {
    const memory = readMemory(pid);
    samples.add("pss", runtime.name, memory.pss);
    samples.add("private-dirty", runtime.name, memory.privateDirty);
    samples.add("anonymous", runtime.name, memory.anonymous);
  }
  const before = shims.map(({ pid }) => readSwitches(pid));
  await Bun.sleep(scale.idleWindow * 1000);
  for (const [index, { runtime, pid }] of shims.entries()) {
    const switches = switchesBetween(before[index] ?? new Map(), readSwitches(pid));
    samples.add("wakeups", runtime.name, (switches * 60) / scale.idleWindow);
  }
  await each(containers, 4, async ({ id }) => {
    await rig.ctr(["task", "rm", "--force", id]);
    await rig.ctr(["container", "rm", id]);
  });
}

/** Container id to the pid of its init, out of what `ctr task ls` prints. */
function taskPids(text: string): Map<string, number> {
  const pids = new Map<string, number>();
  for (const [, id, pid] of text.matchAll(/^(\S+)\s+(\d+)\s+RUNNING/gm)) {
    pids.set(id ?? "", Number(pid));
  }
  return pids;
}

/** Execs of `true` in one container, a few at once, with a Stats call after each when asked. */
async function execMany(shim: Shim, count: number, withStats: boolean): Promise<void> {
  const ids = Array.from({ length: count }, () => freshId(shim.runtime));
  await each(ids, 2, async (id) => {
    await shim.execTrue(id);
    if (withStats) {
      await shim.stats();
    }
    shim.log();
  });
}

/**
 * RSS after all execs and Stats, and after the first tenth of them. All runtimes work at the same time: what counts is
 * memory, not speed.
 */
export async function measureLeak(bench: Bench): Promise<void> {
  const { rig, runtimes, samples, scale } = bench;
  const measure = async (runtime: Runtime): Promise<void> => {
    const shim = new Shim(rig, runtime, freshId(runtime), ["sleep", "100000"]);
    await shim.launch();
    const rss: number[] = [];
    for (let tenth = 1; tenth <= 10; tenth++) {
      await execMany(shim, scale.leakExecs / 10, true);
      rss.push(readMemory(shim.pid).rss);
      bench.say(`${runtime.name}: RSS ${rss.at(-1)} kB after ${(tenth * scale.leakExecs) / 10} execs and Stats`);
    }
    const [early = 0] = rss;
    const late = rss.at(-1) ?? 0;
    samples.add("leak", runtime.name, late / early);
    samples.add("leak-early", runtime.name, early);
    samples.add("leak-late", runtime.name, late);
    await shim.end();
  };
  await Promise.all(runtimes.map(measure));
}

/**
 * PSS some time after a burst of execs, against that of shims beside it that only run a container: read at the same
 * moment, so that both share the executable's pages with the same number of processes.
 */
export async function measureBurst(bench: Bench): Promise<void> {
  const { rig, runtimes, samples, scale } = bench;
  const launch = async (runtime: Runtime): Promise<Shim> => {
    const shim = new Shim(rig, runtime, freshId(runtime), ["sleep", "100000"]);
    await shim.launch();
    return shim;
  };
  const groups: { runtime: Runtime; busy: Shim; fresh: Shim[] }[] = [];
  for (const runtime of runtimes) {
    const fresh: Shim[] = [];
    for (let count = 0; count < scale.burstFresh; count++) {
      fresh.push(await launch(runtime));
    }
    groups.push({ runtime, busy: await launch(runtime), fresh });
  }
  await Promise.all(groups.map(({ busy }) => execMany(busy, scale.burstExecs, false)));
  bench.say(`burst of ${scale.burstExecs} execs is over; idle for ${scale.burstSettle} s`);
  await Bun.sleep(scale.burstSettle * 1000);
  for (const { runtime, busy, fresh } of groups) {
    const after = readMemory(busy.pid);
    const freshSizes = fresh.map((shim) => readMemory(shim.pid).pss);
    for (const pss of freshSizes) {
      samples.add("burst-fresh", runtime.name, pss);
    }
    samples.add("burst-after", runtime.name, after.pss);
    samples.add("burst-anonymous", runtime.name, after.anonymous);
    samples.add("burst", runtime.name, after.pss / median(freshSizes));
  }
  for (const { busy, fresh } of groups) {
    await each([busy, ...fresh], 4, (shim) => shim.end());
  }
}
