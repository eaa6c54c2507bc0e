/** containerd and shims that die: what is running goes on, and every exit is told once. */

import { expect } from "bun:test";
import { existsSync } from "node:fs";
import { findCgroups } from "../lib/cgroup.ts";
import type { Daemon } from "../lib/daemon.ts";
import { testsBerth } from "../lib/paths.ts";
import { findShim, isAlive, type ProcessInfo } from "../lib/process.ts";
import { isLong } from "../lib/shim.ts";
import { containerSuite } from "../lib/suite.ts";
import { waitFor } from "../lib/wait.ts";

// At trace level containerd logs each event that a shim forwards: the only proof that does not race with a subscription.
const suite = containerSuite({ debug: true });

/** How often containerd took an exit event of this namespace, from a shim or from itself, since a length of its log. */
function exitsIn(daemon: Daemon, since: number): number {
  const log = daemon.log().slice(since);
  return log.split("\n").filter((line) => {
    return (
      /event (forwarded|published)/.test(line) && line.includes("topic=/tasks/exit") && line.includes(daemon.namespace)
    );
  }).length;
}

function shimOf(daemon: Daemon, id: string): ProcessInfo {
  const shim = findShim(daemon.namespace, id);
  if (!shim) throw new Error(`no shim process of ${id}`);
  return shim;
}

for (const signal of ["SIGKILL", "SIGTERM"] as const) {
  suite.test(
    `RS-1 ${signal} to containerd: the container runs on and is adopted`,
    async (context) => {
      const { daemon, tasks, events } = context;
      const c = context.id();
      await daemon.runDetached(c, ["sleep", "1000"]);
      const { pid } = await tasks.get(c);
      const shim = shimOf(daemon, c);
      await events.stop();
      const since = daemon.log().length;
      await daemon.restart(signal);
      await events.start();
      expect(isAlive(shim.pid)).toBe(true);
      expect(await tasks.get(c)).toMatchObject({ pid, status: "RUNNING" });
      expect(await daemon.exec(c, ["echo", "adopted"])).toMatchObject({ stdout: "adopted\n", stderr: "", exitCode: 0 });
      await events.wait(c, "exit");
      expect(await tasks.killAndFinish(c)).toBe(137);
      await events.wait(c, "delete");
      // One exit of the exec, one of the container.
      expect(exitsIn(daemon, since)).toBe(2);
      expect(events.topics(c).filter((topic) => topic === "exit")).toHaveLength(2);
      expect(daemon.log().slice(since)).not.toContain("cleaning up leaked shim process");
    },
    { timeout: 60_000 },
  );
}

suite.test(
  "RS-2 exec, pause and metrics work after the adoption",
  async ({ daemon, tasks, events, id }) => {
    const c = id();
    await daemon.runDetached(c, ["sleep", "1000"]);
    await events.stop();
    await daemon.restart("SIGKILL");
    await events.start();
    await tasks.pause(c);
    expect((await tasks.get(c)).status).toBe("PAUSED");
    await tasks.resume(c);
    expect((await tasks.metrics(c)).value.length).toBeGreaterThan(20);
    expect(await tasks.pids(c)).toHaveLength(1);
    await tasks.killAndFinish(c);
  },
  { timeout: 60_000 },
);

suite.test(
  "RS-3 a paused container is still paused after containerd's restart",
  async ({ daemon, tasks, events, id }) => {
    const c = id();
    await daemon.runDetached(c, ["sleep", "1000"]);
    await tasks.pause(c);
    await events.stop();
    await daemon.restart("SIGKILL");
    await events.start();
    expect((await tasks.get(c)).status).toBe("PAUSED");
    await tasks.resume(c);
    expect(await tasks.killAndFinish(c)).toBe(137);
  },
  { timeout: 60_000 },
);

/** A container exits while containerd is away for some milliseconds; after its return the exit is there, once. */
function exitWhileAway(name: string, away: number, skip?: string): void {
  suite.test(
    name,
    async ({ daemon, tasks, events, id }) => {
      const c = id();
      await daemon.runDetached(
        c,
        ["sh", "-c", "read line < /gate; exit 23"],
        ["--null-io", "--mount", `type=bind,src=${await makeGate(daemon, c)},dst=/gate,options=rbind:rw`],
      );
      const { pid } = await tasks.get(c);
      await events.stop();
      const since = daemon.log().length;
      await daemon.kill();
      await openGate(daemon, c);
      await waitFor("the container to end", () => !isAlive(pid));
      await Bun.sleep(away);
      await daemon.start();
      await events.start();
      expect(await tasks.get(c)).toMatchObject({ status: "STOPPED", exitStatus: 23 });
      await waitFor("containerd to take the exit event", () => exitsIn(daemon, since) > 0, { timeout: 25_000 });
      expect(await tasks.finish(c)).toBe(23);
      await events.wait(c, "delete");
      expect(exitsIn(daemon, since)).toBe(1);
    },
    { timeout: 120_000, skip },
  );
}

/** A FIFO which a container blocks on until {@link openGate}. */
async function makeGate(daemon: Daemon, id: string): Promise<string> {
  const path = `${daemon.dir}/gate-${id}`;
  await Bun.$`mkfifo ${path}`.quiet();
  return path;
}

async function openGate(daemon: Daemon, id: string): Promise<void> {
  await Bun.$`echo go > ${`${daemon.dir}/gate-${id}`}`.quiet();
}

exitWhileAway("R01 EV-3 an exit while containerd is away for 3 s is told once", 3_000);
exitWhileAway(
  "R01 EV-3 an exit while containerd is away for 60 s is told once",
  60_000,
  isLong ? undefined : "takes a minute: set BERTH_LONG=1",
);

suite.test("RS-5 DL-8 SIGKILL to the shim: containerd tells the exit, and nothing is left", async (context) => {
  const { daemon, tasks, events } = context;
  const c = context.id();
  await daemon.runDetached(c, ["sh", "-c", "sleep 2000 & sleep 1000"]);
  const { pid } = await tasks.get(c);
  const shim = shimOf(daemon, c);
  process.kill(shim.pid, "SIGKILL");
  await events.wait(c, "delete", 1, 15_000);
  expect(events.topics(c)).toEqual(["create", "start", "exit", "delete"]);
  expect(events.of(c)[2]?.body).toMatchObject({ id: c, pid, exit_status: 137 });
  await waitFor("the container's process to end", () => !isAlive(pid));
  await waitFor("the bundle to go", () => !existsSync(daemon.bundle(c)));
  expect(await daemon.status(c)).toBeUndefined();
  expect(findCgroups([`${daemon.namespace}/${c}`])).toEqual([]);
  if (testsBerth) expect(existsSync(daemon.socketPath(c))).toBe(false);
  else await Bun.$`rm -f ${daemon.socketPath(c)}`; // the reference leaves it
  await tasks.removeContainer(c);
  // containerd goes on.
  expect((await daemon.run(context.id(), ["echo", "next"])).stdout).toBe("next\n");
});

suite.test(
  "DL-6 R04 SIGKILL to the shim after the container's end: the true exit status is kept",
  async (context) => {
    const { daemon, tasks, events } = context;
    const c = context.id();
    await daemon.runDetached(c, ["sh", "-c", "exit 42"]);
    expect(await tasks.wait(c)).toBe(42);
    await events.wait(c, "exit");
    process.kill(shimOf(daemon, c).pid, "SIGKILL");
    await events.wait(c, "delete", 1, 15_000);
    for (const event of events.of(c)) {
      if (event.topic === "/tasks/exit" || event.topic === "/tasks/delete") expect(event.body["exit_status"]).toBe(42);
    }
    await waitFor("the bundle to go", () => !existsSync(daemon.bundle(c)));
    await tasks.removeContainer(c);
  },
  { skip: testsBerth ? undefined : "the reference answers 137 from delete" },
);

suite.test(
  "RS-6 SIGKILL to the shim while containerd is down: cleaned up when it returns",
  async (context) => {
    const { daemon, tasks, events } = context;
    const c = context.id();
    await daemon.runDetached(c, ["sleep", "1000"]);
    const { pid } = await tasks.get(c);
    const shim = shimOf(daemon, c);
    await events.stop();
    await daemon.kill();
    process.kill(shim.pid, "SIGKILL");
    await waitFor("the shim to die", () => !isAlive(shim.pid));
    await daemon.start();
    await events.start();
    await waitFor("the container's process to end", () => !isAlive(pid));
    await waitFor("the bundle to go", () => !existsSync(daemon.bundle(c)));
    expect(await daemon.status(c)).toBeUndefined();
    if (!testsBerth) await Bun.$`rm -f ${daemon.socketPath(c)}`; // the reference leaves it
    await tasks.removeContainer(c);
  },
  { timeout: 60_000 },
);

suite.test("SK-3 RS-5 SIGKILL to a group's shim: both containers end and go", async (context) => {
  const { daemon, tasks, events } = context;
  const [first, second] = [context.id(), context.id()];
  const flags = ["--null-io", "--annotation", `io.containerd.runc.v2.group=${first}`];
  await daemon.runDetached(first, ["sleep", "1000"], flags);
  await daemon.runDetached(second, ["sleep", "1000"], flags);
  const pids = [(await tasks.get(first)).pid, (await tasks.get(second)).pid];
  process.kill(shimOf(daemon, first).pid, "SIGKILL");
  for (const c of [first, second]) {
    await events.wait(c, "delete", 1, 15_000);
    await waitFor(`the bundle of ${c} to go`, () => !existsSync(daemon.bundle(c)));
    await tasks.removeContainer(c);
  }
  for (const pid of pids) await waitFor(`process ${pid} to end`, () => !isAlive(pid));
  if (!testsBerth) await Bun.$`rm -f ${daemon.socketPath(first)}`; // the reference leaves it
});
