/** Several containers in one shim (SK-3, ST-8, DL-4), and that a stuck one never stalls another (PR-7). */

import { describe, expect } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Code } from "../../proto/ttrpc/index.ts";
import { FakeRunc, faults } from "../fault/fake-runc.ts";
import { isAlive } from "../lib/process.ts";
import { expectStatus, processSpec, type Shim, type ShimRig, shimSuite } from "../lib/shim.ts";

const { test } = shimSuite();
const label = "io.containerd.runc.v2.group";
const podLabel = "io.kubernetes.cri.sandbox-id";

/** Starts the shims of a group: the first serves, the others join. */
async function group(
  rig: ShimRig,
  count: number,
  name = label,
  ownPids = true,
): Promise<{ shims: Shim[]; id: string }> {
  const id = rig.id();
  const shims: Shim[] = [];
  for (let n = 0; n < count; n++)
    shims.push(await rig.start(await rig.bundle({ annotations: { [name]: id }, ownPids })));
  return { shims, id };
}

/** The first of two, which is stuck, and the second, which must not be. */
async function pair(rig: ShimRig, name: string): Promise<{ stuck: Shim; free: Shim; fake: FakeRunc }> {
  const fake = new FakeRunc(join(rig.dir, name));
  const annotations = { [label]: rig.id() };
  const stuck = await rig.start(await rig.bundle({ annotations }), { runc: { binaryName: fake.path } });
  const free = await rig.start(await rig.bundle({ annotations }));
  expect(free.pid).toBe(stuck.pid);
  return { stuck, free, fake };
}

/** A whole life, each call in less than two seconds (T-STT-4). */
async function liveQuickly({ id, task: t }: Shim): Promise<void> {
  const limit = { timeoutMs: 2_000 };
  await t.start(id, "", limit);
  expect((await t.state(id, "", limit)).status).toBe("RUNNING");
  await t.exec(id, "e", processSpec(["true"]), {}, limit);
  await t.start(id, "e", limit);
  expect((await t.wait(id, "e", limit)).exitStatus).toBe(0);
  expect((await t.pids(id, limit)).length).toBe(1);
  await t.stats(id, limit);
  await t.pause(id, limit);
  await t.resume(id, limit);
  await t.kill(id, 9, {}, limit);
  expect((await t.wait(id, "", limit)).exitStatus).toBe(137);
  expect((await t.delete(id, "", limit)).exitStatus).toBe(137);
}

describe("grouping", () => {
  test("SK-3 ST-8 both labels put containers into one shim; the address is in each bundle", async (rig) => {
    for (const name of [label, podLabel]) {
      const { shims, id } = await group(rig, 3, name);
      expect(new Set(shims.map((shim) => shim.pid)).size).toBe(1);
      for (const shim of shims) {
        expect(shim.socket).toBe(rig.socketPath(id));
        expect(readFileSync(join(shim.bundle.path, "address"), "utf8")).toBe(shim.address);
      }
    }
  });

  test("SK-3 the group's label wins over the pod's, and an empty one counts as none", async (rig) => {
    const [group, pod] = [rig.id(), rig.id()];
    const both = await rig.start(await rig.bundle({ annotations: { [podLabel]: pod, [label]: group } }));
    expect(both.socket).toBe(rig.socketPath(group));
    const empty = await rig.start(await rig.bundle({ annotations: { [label]: "" } }));
    expect(empty.socket).toBe(rig.socketPath(empty.id));
  });

  test("SK-3 a group whose name is no file name cannot leave the socket directory", async (rig) => {
    const shim = await rig.start(await rig.bundle({ annotations: { [label]: "../../etc/passwd\n" } }));
    expect(shim.socket).toMatch(/^\/run\/containerd\/s\/[0-9a-f]{64}$/);
  });

  test("SK-5 lives side by side; Shutdown of one leaves the others; the last ends the shim", async (rig) => {
    const { shims } = await group(rig, 3);
    const [one, two, three] = shims as [Shim, Shim, Shim];
    await Promise.all(shims.map((shim) => shim.create()));
    await Promise.all(shims.map((shim) => shim.task.start(shim.id)));
    const pids = new Set(await Promise.all(shims.map(async (shim) => (await shim.task.state(shim.id)).pid)));
    expect(pids.size).toBe(3);
    await one.empty();
    await one.task.shutdown(one.id);
    one.client.close();
    expect((await two.task.state(two.id)).status).toBe("RUNNING");
    expect((await rig.delete(one.bundle)).exitStatus).toBe(137);
    expect(existsSync(two.socket)).toBe(true);
    await two.empty();
    expect((await three.task.state(three.id)).status).toBe("RUNNING");
    await three.empty();
    await three.task.shutdown(three.id);
    await three.ended();
    expect(existsSync(three.socket)).toBe(false);
    for (const shim of shims) expect(rig.events.topics(shim.id)).toEqual(["create", "start", "exit", "delete"]);
  });

  test("T-KIL-4 PR-3 kill --all and the end of one's init touch no sibling", async (rig) => {
    const { shims } = await group(rig, 2, label, false);
    const [one, two] = shims as [Shim, Shim];
    for (const shim of shims) {
      await shim.create();
      await shim.task.start(shim.id);
      await shim.task.exec(shim.id, "e", processSpec(["sleep", "1000"]));
      await shim.task.start(shim.id, "e");
    }
    const exec = await two.task.state(two.id, "e");
    await one.task.kill(one.id, 9, { all: true });
    await one.task.wait(one.id);
    await one.task.wait(one.id, "e");
    expect((await two.task.state(two.id)).status).toBe("RUNNING");
    expect((await two.task.state(two.id, "e")).status).toBe("RUNNING");
    expect(isAlive(exec.pid)).toBe(true);
  });

  test("DL-4 delete of one, while the shim lives, kills no sibling and keeps the socket", async (rig) => {
    const { shims, id } = await group(rig, 2);
    const [one, two] = shims as [Shim, Shim];
    for (const shim of shims) {
      await shim.create();
      await shim.task.start(shim.id);
    }
    expect((await rig.delete(one.bundle)).exitStatus).toBe(137);
    expect((await two.task.state(two.id)).status).toBe("RUNNING");
    expect(existsSync(rig.socketPath(id))).toBe(true);
  });

  test("DL-8 RS-5 R08 the shim is killed: delete of each leaves nothing, and of one nothing of the other's", async (rig) => {
    const { shims, id } = await group(rig, 2);
    const [one, two] = shims as [Shim, Shim];
    for (const shim of shims) {
      await shim.create();
      await shim.task.start(shim.id);
    }
    const sibling = (await two.task.state(two.id)).pid;
    await one.signal("SIGKILL");
    await rig.delete(one.bundle);
    expect(rig.leftOf(one.bundle, id)).toEqual([]);
    expect(isAlive(sibling)).toBe(true);
    await rig.delete(two.bundle);
    expect(rig.leftOf(two.bundle, id)).toEqual([]);
    expect(isAlive(sibling)).toBe(false);
  });

  test("DL-8 the shim is killed while runc creates the second: delete of the second ends that runc", async (rig) => {
    const fake = new FakeRunc(join(rig.dir, "fake-second"));
    const annotations = { [label]: rig.id() };
    const one = await rig.start(await rig.bundle({ annotations }));
    await one.create();
    await one.task.start(one.id);
    const sibling = (await one.task.state(one.id)).pid;
    const two = await rig.start(await rig.bundle({ annotations }), { runc: { binaryName: fake.path } });
    fake.on("create", faults.hangInChild);
    two.create().catch(() => undefined);
    await fake.reached();
    await one.signal("SIGKILL");
    fake.clear();
    await rig.delete(two.bundle);
    expect(rig.leftOf(two.bundle)).toEqual([]);
    expect(isAlive(sibling)).toBe(true);
    await rig.delete(one.bundle);
    expect(rig.leftOf(one.bundle)).toEqual([]);
  });

  test("ST-8 a start after the group's shim was killed gives a new one", async (rig) => {
    const { shims, id } = await group(rig, 1);
    await shims[0]?.signal("SIGKILL");
    const next = await rig.start(await rig.bundle({ annotations: { [label]: id } }));
    expect(next.pid).not.toBe(shims[0]?.pid);
    expect(next.socket).toBe(rig.socketPath(id));
  });
});

describe("PR-7 one is stuck", () => {
  test("in runc create: the other lives its life", async (rig) => {
    const { stuck, free, fake } = await pair(rig, "stuck-create");
    await free.create();
    fake.on("create", faults.hold);
    const creating = stuck.create();
    await fake.reached();
    await liveQuickly(free);
    fake.release();
    expect(await creating).toBeGreaterThan(0);
  });

  test("in runc start, exec, kill, ps, pause: the other lives its life, and its own State is answered", async (rig) => {
    const { stuck, free, fake } = await pair(rig, "stuck-verbs");
    await stuck.create();
    fake.on("start", faults.hold);
    const starting = stuck.task.start(stuck.id);
    await fake.reached();
    expect((await stuck.task.state(stuck.id, "", { timeoutMs: 1_000 })).status).toBe("CREATED");
    await free.create();
    await liveQuickly(free);
    fake.release();
    await starting;
    await stuck.task.exec(stuck.id, "e", processSpec(["true"]));
    const calls = {
      exec: () => stuck.task.start(stuck.id, "e"),
      pause: () => stuck.task.pause(stuck.id),
      ps: () => stuck.task.pids(stuck.id),
      kill: () => stuck.task.kill(stuck.id, 9),
    };
    for (const [verb, call] of Object.entries(calls)) {
      fake.on(verb as keyof typeof calls, faults.hold);
      const calling = call();
      await fake.reached();
      const state = await stuck.task.state(stuck.id, "", { timeoutMs: 1_000 });
      expect(["RUNNING", "PAUSING", "PAUSED"]).toContain(state.status);
      await free.task.connect(free.id, { timeoutMs: 1_000 });
      await expectStatus(free.task.state(free.id, "", { timeoutMs: 1_000 }), Code.NotFound, "container not created");
      fake.release();
      await calling;
    }
    expect((await stuck.task.wait(stuck.id)).exitStatus).toBe(137);
  });

  test("in runc delete: the other lives its life", async (rig) => {
    const { stuck, free, fake } = await pair(rig, "stuck-delete");
    await free.create();
    await stuck.create();
    await stuck.task.start(stuck.id);
    await stuck.killInit();
    fake.on("delete", faults.hold);
    const deleting = stuck.task.delete(stuck.id);
    await fake.reached();
    await liveQuickly(free);
    fake.release();
    expect((await deleting).exitStatus).toBe(137);
  });

  test("in opening a FIFO that nobody reads: the other lives its life", async (rig) => {
    const { stuck, free } = await pair(rig, "stuck-fifo");
    await free.create();
    const fifo = join(rig.dir, `fifo-${stuck.id}`);
    Bun.spawnSync(["mkfifo", fifo]);
    const creating = stuck.create({ stdout: fifo });
    await Bun.sleep(50);
    await liveQuickly(free);
    const reader = Bun.spawn(["cat", fifo], { stdout: "ignore" });
    expect(await creating).toBeGreaterThan(0);
    await stuck.task.start(stuck.id);
    await stuck.empty();
    await reader.exited;
  });
});

describe("a dead shim's socket", () => {
  test("SK-2 is taken over by one of several starts at once, and the others join it", async (rig) => {
    const annotations = { [label]: rig.id() };
    const dead = await rig.start(await rig.bundle({ annotations }));
    await dead.signal("SIGKILL");
    dead.client.close();
    const bundles = await Promise.all(Array.from({ length: 5 }, () => rig.bundle({ annotations })));
    const shims = await Promise.all(bundles.map((bundle) => rig.start(bundle)));
    expect(new Set(shims.map((shim) => shim.address)).size).toBe(1);
    expect(new Set(shims.map((shim) => shim.pid)).size).toBe(1);
  });
});
