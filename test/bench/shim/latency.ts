/** Wall times of one container: ctr run, the binary calls, and exec. */

import { type Bench, freshId, inPairs, seconds } from "./measure.ts";
import { Shim } from "./shim.ts";

/** `ctr run --rm IMAGE true`, wall. */
export async function measureRun(bench: Bench): Promise<void> {
  const { rig, samples, scale } = bench;
  await inPairs(bench, scale.pairs, async (runtime, record) => {
    const id = freshId(runtime);
    rig.register(id);
    const flags = [...rig.containerFlags(runtime), "--rm", "--fifo-dir", rig.daemon.fifoDir];
    const outcome = await rig.ctr(["run", ...flags, rig.image, id, "true"]);
    if (record) {
      samples.add("run", runtime.name, outcome.seconds);
    }
  });
}

/** The life of one container without containerd: `start` to Connect, Create to Delete, `delete` after Shutdown. */
export async function measureLife(bench: Bench): Promise<void> {
  const { rig, samples, scale } = bench;
  await inPairs(bench, scale.pairs, async (runtime, record) => {
    const shim = new Shim(rig, runtime, freshId(runtime), ["true"]);
    const start = await shim.start();
    const task = await seconds(async () => {
      await shim.create();
      const exited = shim.wait();
      await shim.startProcess();
      await exited;
      await shim.deleteProcess();
    });
    await shim.shutdown();
    const end = await shim.delete();
    shim.remove();
    if (record) {
      samples.add("start", runtime.name, start);
      samples.add("task", runtime.name, task);
      samples.add("delete", runtime.name, end);
    }
  });
}

/** `delete` when the shim of a running container was killed: it has to kill the container and unmount. */
export async function measureCrash(bench: Bench): Promise<void> {
  const { rig, samples, scale } = bench;
  await inPairs(bench, scale.crashPairs, async (runtime, record) => {
    const shim = new Shim(rig, runtime, freshId(runtime), ["sleep", "1000"]);
    await shim.launch();
    await shim.crash();
    const end = await shim.delete();
    shim.remove();
    if (record) {
      samples.add("delete-crashed", runtime.name, end);
    }
  });
}

/** exec of `true` in a running container: by `ctr task exec`, and by calls to the shim. */
export async function measureExec(bench: Bench): Promise<void> {
  const { rig, runtimes, samples, scale } = bench;
  const ids = new Map(runtimes.map((runtime) => [runtime, freshId(runtime)]));
  for (const [runtime, id] of ids) {
    rig.register(id);
    await rig.ctr(["run", ...rig.containerFlags(runtime), "--detach", "--null-io", rig.image, id, "sleep", "1000"]);
  }
  await inPairs(bench, scale.pairs, async (runtime, record) => {
    const flags = ["--exec-id", freshId(runtime), "--fifo-dir", rig.daemon.fifoDir];
    const outcome = await rig.ctr(["task", "exec", ...flags, ids.get(runtime) ?? "", "true"]);
    if (record) {
      samples.add("exec", runtime.name, outcome.seconds);
    }
  });
  for (const id of ids.values()) {
    await rig.ctr(["task", "rm", "--force", id]);
    await rig.ctr(["container", "rm", id]);
  }

  const shims = new Map(
    runtimes.map((runtime) => [runtime, new Shim(rig, runtime, freshId(runtime), ["sleep", "1000"])]),
  );
  for (const shim of shims.values()) {
    await shim.launch();
  }
  await inPairs(bench, scale.pairs, async (runtime, record) => {
    const taken = await seconds(async () => shims.get(runtime)?.execTrue(freshId(runtime)));
    if (record) {
      samples.add("exec-ttrpc", runtime.name, taken);
    }
  });
  for (const shim of shims.values()) {
    await shim.end();
  }
}
