/** Tasks of berthd, beyond what the suites of the shim ask of any daemon: its death at each step of a container's life. */

import { expect } from "bun:test";
import { chmodSync, existsSync, lstatSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { containerd, google } from "../../proto/gen/supervisor.js";
import { Client } from "../../proto/ttrpc/index.ts";
import { Berthd } from "../lib/berthd.ts";
import type { Daemon } from "../lib/daemon.ts";
import { imageName } from "../lib/image.ts";
import { outcome } from "../lib/outcome.ts";
import { childrenOf, findShim, isAlive } from "../lib/process.ts";
import { containerSuite, type TestContext } from "../lib/suite.ts";
import { code, RpcError } from "../lib/tasks.ts";
import { waitFor } from "../lib/wait.ts";

const runc = "io.containerd.runc.v2";
const suite = containerSuite({}, (dir, namespace, options) => new Berthd(dir, namespace, options));
const shell = (script: string) => ["sh", "-c", script];
const process_ = (args: string[]) => ({ args, cwd: "/", env: ["PATH=/bin"], user: { uid: 0, gid: 0 } });

/** SIGKILL, at once a new daemon, and a subscriber that comes back. */
async function crash({ daemon, events }: TestContext, meanwhile: () => unknown = () => undefined): Promise<void> {
  await daemon.kill();
  await meanwhile();
  await daemon.start();
  await events.start();
}

function exitsOf({ events }: TestContext, id: string, process = id): number {
  return events.of(id).filter(({ topic, body }) => topic === "/tasks/exit" && body["id"] === process).length;
}

/** How many calls of Delete there have been. */
async function deletesBegun(daemon: Daemon): Promise<number> {
  const answer = await fetch("http://berthd/v1/metrics", { unix: join(daemon.state, "debug.sock"), keepalive: false });
  const line = /^grpc_server_started_total\{(?=[^}]*"Delete")(?=[^}]*tasks\.v1\.Tasks")[^}]*\} (\d+)$/m;
  return Number(line.exec(await answer.text())?.[1]);
}

suite.test("R06 a task that was created and not started outlives the daemon", async (context) => {
  const { daemon, tasks, events } = context;
  const id = context.id();
  const pid = await tasks.create(id, imageName, ["sleep", "1000"], runc);
  await crash(context);
  expect(await tasks.get(id)).toMatchObject({ pid, status: "CREATED" });
  expect(await tasks.start(id)).toBe(pid);
  expect(await tasks.killAndFinish(id)).toBe(137);
  await events.wait(id, "delete");
  expect(exitsOf(context, id)).toBe(1);
  expect(daemon.log()).not.toContain("leaked");
});

suite.test(
  "R01 an exit while no daemon is there is told once to who comes back, and Wait answers it",
  async (context) => {
    const { daemon, tasks, events } = context;
    const id = context.id();
    await daemon.runDetached(id, shell("sleep 0.3; exit 7"));
    const { pid } = await tasks.get(id);
    await crash(context, () => waitFor("the end", () => !isAlive(pid)));
    expect(await tasks.wait(id)).toBe(7);
    expect(await events.wait(id, "exit")).toMatchObject({ body: { exit_status: 7, pid } });
    expect(await tasks.finish(id)).toBe(7);
    await events.wait(id, "delete");
    expect(exitsOf(context, id)).toBe(1);
  },
);

suite.test("R01 an exec goes on without the daemon, and its end is told once", async (context) => {
  const { daemon, tasks, events } = context;
  const id = context.id();
  await daemon.runDetached(id, ["sleep", "1000"]);
  await tasks.exec(id, "e1", process_(["sleep", "1000"]));
  const pid = await tasks.start(id, "e1");
  await tasks.exec(id, "e2", process_(["true"]));
  await crash(context);
  expect(await tasks.get(id, "e1")).toMatchObject({ pid, status: "RUNNING" });
  expect(await tasks.get(id, "e2")).toMatchObject({ status: "CREATED" });
  const waiting = tasks.wait(id, "e1");
  await tasks.kill(id, 9, { execId: "e1" });
  expect(await waiting).toBe(137);
  expect(await tasks.deleteExec(id, "e1")).toEqual({ pid, exitStatus: 137 });
  await tasks.start(id, "e2");
  expect(await tasks.wait(id, "e2")).toBe(0);
  await tasks.deleteExec(id, "e2");
  await tasks.killAndFinish(id);
  await events.wait(id, "delete");
  expect([exitsOf(context, id, "e1"), exitsOf(context, id, "e2"), exitsOf(context, id)]).toEqual([1, 1, 1]);
});

for (const delay of [0, 3, 6, 10, 15, 25, 40]) {
  suite.test(
    `R06 the daemon dies ${delay} ms into a Create: the task is there or not, and nothing else`,
    async (context) => {
      const { daemon, tasks } = context;
      const id = context.id();
      await tasks.createContainer(id, imageName, ["sleep", "1000"], runc);
      const creating = tasks.createTask(id).catch((error: unknown) => error);
      await Bun.sleep(delay);
      await crash(context);
      await creating;
      const state = await tasks.get(id).catch((error: unknown) => error);
      if (state instanceof RpcError) {
        expect(state.code).toBe(code.notFound);
        await waitFor("the bundle to go", () => !existsSync(daemon.bundle(id)));
        // Its id can be used at once.
        await tasks.createTask(id);
      }
      await tasks.start(id);
      expect(await tasks.killAndFinish(id)).toBe(137);
    },
  );
}

for (const delay of [0, 5, 15, 30, 60]) {
  suite.test(`a Delete ${delay} ms into a Create leaves a task or nothing, and the id can be used`, async (context) => {
    const { tasks } = context;
    const id = context.id();
    await tasks.createContainer(id, imageName, ["sleep", "1000"], runc);
    const creating = tasks.createTask(id).catch((error: unknown) => error);
    await Bun.sleep(delay);
    const deleted = await tasks.delete(id).catch((error: unknown) => error);
    await creating;
    if (deleted instanceof RpcError) expect(deleted.code).toBe(code.notFound);
    const state = await tasks.get(id).catch((error: unknown) => error);
    if (state instanceof RpcError) await tasks.createTask(id);
    await tasks.start(id);
    expect(await tasks.killAndFinish(id)).toBe(137);
  });
}

for (const patience of [5, 25, 60]) {
  suite.test(
    `a Create whose caller gives up after ${patience} ms leaves a task that it was told of, or none`,
    async (context) => {
      const { tasks } = context;
      const id = context.id();
      await tasks.createContainer(id, imageName, ["sleep", "1000"], runc);
      const created = await tasks.createTask(id, {}, {}, patience).catch((error: unknown) => error);
      if (created instanceof Error) {
        await waitFor("the task to go", async () => {
          const found = await tasks.get(id).catch((error: unknown) => error);
          return found instanceof RpcError && found.code === code.notFound;
        });
        await tasks.createTask(id);
      }
      await tasks.start(id);
      expect(await tasks.killAndFinish(id)).toBe(137);
    },
  );
}

for (const delay of [0, 4, 8, 14]) {
  suite.test(`R05 the daemon dies ${delay} ms into a Delete: what is left can be deleted`, async (context) => {
    const { daemon, tasks } = context;
    const id = context.id();
    await daemon.runDetached(id, ["true"]);
    await tasks.wait(id);
    const deleting = tasks.delete(id).catch((error: unknown) => error);
    await Bun.sleep(delay);
    await crash(context);
    await deleting;
    await tasks.delete(id).catch((error: unknown) => {
      if (!(error instanceof RpcError) || error.code !== code.notFound) throw error;
    });
    await waitFor("the bundle to go", () => !existsSync(daemon.bundle(id)));
    await tasks.removeContainer(id);
  });
}

suite.test("R05 a Delete whose caller has gone goes on, and the next ones join it", async ({ daemon, tasks, id }) => {
  const c = id();
  await daemon.runDetached(c, shell("exit 3"));
  await tasks.wait(c);
  const call = (timeout: number) =>
    tasks.call("Delete", "IdRequest", { containerId: c }, "DeleteResponse", timeout).catch((error: unknown) => error);
  const before = await deletesBegun(daemon);
  const come = (count: number) =>
    waitFor(`call ${count} of Delete`, async () => (await deletesBegun(daemon)) >= before + count);
  // A shim that stands still keeps the Delete from ending before all callers are there.
  const shim = findShim(daemon.namespace, c)?.pid ?? 0;
  process.kill(shim, "SIGSTOP");
  try {
    const first = call(1_000);
    await come(1);
    const others = [call(20_000), call(20_000)];
    await come(3);
    expect(await first).toBeInstanceOf(Error);
    process.kill(shim, "SIGCONT");
    expect(await Promise.all(others)).toEqual([
      expect.objectContaining({ exitStatus: 3 }),
      expect.objectContaining({ exitStatus: 3 }),
    ]);
  } finally {
    if (isAlive(shim)) process.kill(shim, "SIGCONT");
  }
  await tasks.removeContainer(c);
});

suite.test("a DeleteProcess of init is a Delete: no task without a container stays behind", async (context) => {
  const { daemon, tasks } = context;
  const id = context.id();
  await daemon.runDetached(id, shell("exit 3"));
  await tasks.wait(id);
  expect(await tasks.deleteExec(id, "")).toMatchObject({ exitStatus: 3 });
  expect(await outcome(tasks.get(id))).toThrow(`task ${id} not found`);
  await tasks.createTask(id);
  await tasks.start(id);
  await tasks.wait(id);
  await tasks.finish(id);
});

suite.test("R02 R08 a shim that dies with the daemon: what it ran is ended, and told once", async (context) => {
  const { daemon, tasks, events } = context;
  const id = context.id();
  await daemon.runDetached(id, ["sleep", "1000"]);
  const { pid } = await tasks.get(id);
  const shim = findShim(daemon.namespace, id);
  await crash(context, () => process.kill(shim?.pid ?? 0, "SIGKILL"));
  expect(await outcome(tasks.get(id))).toThrow(`task ${id} not found`);
  expect(isAlive(pid)).toBe(false);
  await events.wait(id, "delete");
  expect(exitsOf(context, id)).toBe(1);
  expect(existsSync(daemon.bundle(id))).toBe(false);
  await tasks.removeContainer(id);
});

suite.test("EV-6 a shim is killed: who waits is told how init ended, and the end is told once", async (context) => {
  const { daemon, tasks, events } = context;
  const id = context.id();
  await daemon.runDetached(id, ["sleep", "1000"]);
  const waiting = tasks.wait(id);
  await Bun.sleep(100);
  process.kill(findShim(daemon.namespace, id)?.pid ?? 0, "SIGKILL");
  expect(await waiting).toBe(137);
  await events.wait(id, "delete");
  expect(exitsOf(context, id)).toBe(1);
  await tasks.removeContainer(id);
});

suite.test(
  "R07 a shim that does not answer keeps its container, and stalls nobody",
  async (context) => {
    const { daemon, tasks } = context;
    const [stuck, other] = [context.id(), context.id()];
    await daemon.runDetached(stuck, ["sleep", "1000"]);
    await daemon.runDetached(other, ["sleep", "1000"]);
    const { pid } = await tasks.get(stuck);
    const shim = findShim(daemon.namespace, stuck)?.pid ?? 0;
    process.kill(shim, "SIGSTOP");
    try {
      await crash(context);
      const begun = performance.now();
      expect((await tasks.get(other)).status).toBe("RUNNING");
      expect(performance.now() - begun).toBeLessThan(1_000);
      // As containerd: who asks gets no status, after the limit of State.
      expect((await tasks.get(stuck)).status).toBe("UNKNOWN");
    } finally {
      process.kill(shim, "SIGCONT");
    }
    await waitFor("the status", async () => (await tasks.get(stuck)).status === "RUNNING");
    expect(isAlive(pid)).toBe(true);
    for (const id of [stuck, other]) await tasks.killAndFinish(id);
  },
  { timeout: 60_000 },
);

suite.test("leftovers of a crash are swept at the next start", async (context) => {
  const { daemon } = context;
  const id = context.id();
  await daemon.kill();
  const work = daemon.bundle(id).replace(daemon.state, daemon.root);
  for (const path of [daemon.bundle(id), work, daemon.bundle(`${id}x`), daemon.bundle(`.${id}`)]) {
    await Bun.write(join(path, "rest"), "");
  }
  writeFileSync(join(daemon.bundle(`${id}x`), "shim-binary-path"), "/gone/containerd-shim-gone-v1");
  await daemon.start();
  await context.events.start();
  await waitFor("the sweep", () => readdirSync(join(daemon.bundle(id), "..")).length === 0);
  await waitFor("the sweep of the twins", () => !existsSync(work));
});

suite.test(
  "restart labels: an exit is followed by a new start, also after the daemon's death (R30)",
  async (context) => {
    const { daemon, tasks, events } = context;
    const id = context.id();
    const labels = ["--label", "containerd.io/restart.status=running"];
    labels.push("--label", "containerd.io/restart.policy=on-failure:3");
    await daemon.runDetached(id, ["sleep", "1000"], ["--null-io", ...labels]);
    await tasks.kill(id, 9);
    await events.wait(id, "start", 2);
    expect(await restarts(daemon, id)).toBe("1");
    const { pid } = await tasks.get(id);
    const shim = findShim(daemon.namespace, id)?.pid ?? 0;
    await crash(context, () => {
      process.kill(pid, "SIGKILL");
      process.kill(shim, "SIGKILL");
    });
    // The shim did not live to tell the exit: nobody knows that it was a failure but the clean-up.
    await waitFor("the second restart", async () => (await restarts(daemon, id)) === "2", { timeout: 15_000 });
    await daemon.ctr(["containers", "label", id, "containerd.io/restart.status="], { check: true });
    await waitFor("the task", async () => (await daemon.status(id)) === "RUNNING");
    await tasks.killAndFinish(id);
  },
);

async function restarts(daemon: Daemon, id: string): Promise<string | undefined> {
  const { stdout } = await daemon.ctr(["containers", "info", id], { check: true });
  return (JSON.parse(stdout) as { Labels?: Record<string, string> }).Labels?.["containerd.io/restart.count"];
}

suite.test("the socket for events is root's and its group's; what is no event is refused", async ({ daemon }) => {
  const path = `${daemon.address}.ttrpc`;
  expect((lstatSync(path).mode & 0o777).toString(8)).toBe("660");
  const client = await Client.connect({ unix: path });
  const { ForwardRequest } = containerd.services.events.ttrpc.v1;
  const forward = (envelope: object | undefined) =>
    client.call(
      "containerd.services.events.ttrpc.v1.Events",
      "Forward",
      ForwardRequest,
      google.protobuf.Empty,
      envelope === undefined ? {} : { envelope },
    );
  const good = { timestamp: { seconds: 1, nanos: 1 }, namespace: daemon.namespace, topic: "/tasks/oom" };
  try {
    expect(await outcome(forward(undefined))).toThrow("invalid");
    for (const bad of [
      { namespace: "../x" },
      { namespace: "" },
      { topic: "tasks" },
      { topic: "" },
      { timestamp: null },
    ]) {
      expect(await outcome(forward({ ...good, ...bad }))).toThrow();
    }
    const event = { type_url: "containerd.events.TaskExit", value: new Uint8Array([0xff, 0xff]) };
    expect(await outcome(forward({ ...good, topic: "/tasks/exit", event }))).toThrow();
    await forward(good);
  } finally {
    client.close();
  }
  expect(daemon.running).toBe(true);
});

suite.test("a shim that says nothing, or fails, is an error in containerd's words", async (context) => {
  const { daemon, tasks } = context;
  const id = context.id();
  await tasks.createContainer(id, imageName, ["true"], runc);
  const script = join(daemon.dir, "shim.sh");
  writeFileSync(script, "#!/bin/sh\necho no such luck >&2\nexit 3\n");
  chmodSync(script, 0o755);
  const create = (runtimePath: string) => tasks.createTask(id, {}, { runtimePath });
  expect(await outcome(create(script))).toThrow("failed to start shim: start failed: no such luck\n: exit status 3");
  expect(await outcome(create("/bin/true"))).toThrow("failed to start shim: start failed: failed to create TTRPC");
  expect(await outcome(create("nope"))).toThrow("failed to resolve runtime path: invalid runtime name nope");
  expect(existsSync(daemon.bundle(id))).toBe(false);
  await tasks.removeContainer(id);
});

/** Processes of our shim that wait for a bundle, of this daemon. */
function waiting(daemon: Daemon): number[] {
  return childrenOf(daemon.pid ?? 0)
    .filter(({ argv }) => argv[1] === "wait" || argv[2] === "wait")
    .map(({ pid }) => pid);
}

suite.test("a shim waits for the container that is being made, serves it, and is known by its id", async (context) => {
  const { daemon, tasks } = context;
  const id = context.id();
  await tasks.createContainer(id, imageName, ["sleep", "1000"], runc);
  await waitFor("the shim", () => waiting(daemon).length === 1);
  const [pid] = waiting(daemon);
  await tasks.createTask(id);
  expect(waiting(daemon)).toEqual([]);
  expect(findShim(daemon.namespace, id)).toMatchObject({ pid });
  await tasks.start(id);
  expect(await tasks.killAndFinish(id)).toBe(137);
});

suite.test("a shim that waits and is killed, or that nobody needs, costs nothing", async (context) => {
  const { daemon, tasks } = context;
  const id = context.id();
  await tasks.createContainer(id, imageName, ["true"], runc);
  await waitFor("the shim", () => waiting(daemon).length === 1);
  for (const pid of waiting(daemon)) process.kill(pid, "SIGKILL");
  await tasks.createTask(id);
  await tasks.start(id);
  expect(await tasks.finish(id)).toBe(0);
  const other = context.id();
  await tasks.createContainer(other, imageName, ["true"], runc);
  await waitFor("the shim", () => waiting(daemon).length === 1);
  const [pid = 0] = waiting(daemon);
  await waitFor("its end", () => !isAlive(pid), { timeout: 10_000 });
  await tasks.removeContainer(other);
});

suite.test("a shim that waits ends with the daemon", async (context) => {
  const { daemon, tasks } = context;
  const id = context.id();
  await tasks.createContainer(id, imageName, ["true"], runc);
  await waitFor("the shim", () => waiting(daemon).length === 1);
  const [pid = 0] = waiting(daemon);
  await crash(context, () => waitFor("its end", () => !isAlive(pid)));
  await tasks.removeContainer(id);
});

suite.test("containerd's own shim serves under berthd, and is adopted", async (context) => {
  const { tasks, events } = context;
  const id = context.id();
  await tasks.createContainer(id, imageName, ["sleep", "1000"], "io.containerd.runc.v2");
  const runtimePath = Bun.which("containerd-shim-runc-v2");
  if (runtimePath === null) return tasks.removeContainer(id);
  await tasks.createTask(id, {}, { runtimePath });
  const pid = await tasks.start(id);
  await crash(context);
  expect(await tasks.get(id)).toMatchObject({ pid, status: "RUNNING" });
  expect(await tasks.killAndFinish(id)).toBe(137);
  await events.wait(id, "delete");
  expect(exitsOf(context, id)).toBe(1);
});
