/** OOM kills as clients hear of them (contract 1.9, PR-4, R19). */

import { expect } from "bun:test";
import type { Daemon } from "../lib/daemon.ts";
import { containerSuite } from "../lib/suite.ts";

const suite = containerSuite();

/** Takes memory until it is killed. */
const eater = "tail /dev/zero";
const limit = ["--null-io", "--memory-limit", String(24 << 20)];

async function run(daemon: Daemon, id: string, script: string): Promise<void> {
  await daemon.runDetached(id, ["sh", "-c", script], limit);
}

suite.test("R19 a child of init that is killed is told while the container runs", async (context) => {
  const { daemon, events, tasks, id } = context;
  const c = id();
  await run(daemon, c, `${eater}; sleep 1000`);
  await events.wait(c, "oom");
  expect((await tasks.get(c)).status).toBe("RUNNING");
  expect(events.topics(c)).toEqual(["create", "start", "oom"]);
  expect(await tasks.killAndFinish(c)).toBe(137);
  await events.wait(c, "delete");
  expect(events.topics(c)).toEqual(["create", "start", "oom", "exit", "delete"]);
});

suite.test("R19 PR-4 when init is killed, the reason comes before the exit, and the exit is 137", async (context) => {
  const { daemon, events, tasks, id } = context;
  for (let round = 0; round < 5; round++) {
    const c = id();
    await run(daemon, c, `exec ${eater}`);
    expect(await tasks.finish(c)).toBe(137);
    await events.wait(c, "delete");
    expect(events.topics(c)).toEqual(["create", "start", "oom", "exit", "delete"]);
  }
});

suite.test("R19 an exec that is killed: the reason, its exit of 137, and the container goes on", async (context) => {
  const { daemon, events, tasks, id } = context;
  const c = id();
  await run(daemon, c, "sleep 1000");
  expect((await daemon.exec(c, ["tail", "/dev/zero"])).exitCode).toBe(137);
  await events.wait(c, "exit");
  expect(events.topics(c)).toEqual(["create", "start", "exec-added", "exec-started", "oom", "exit"]);
  expect((await tasks.get(c)).status).toBe("RUNNING");
  await tasks.killAndFinish(c);
});

suite.test("R19 each kill is told, and none without one", async ({ daemon, events, tasks, id }) => {
  const c = id();
  await run(daemon, c, `${eater}; usleep 300000; ${eater}; sleep 1000`);
  await events.wait(c, "oom", 2);
  await Bun.sleep(500);
  expect(events.topics(c).filter((topic) => topic === "oom")).toHaveLength(2);
  await tasks.killAndFinish(c);
  const d = id();
  await run(daemon, d, "exit 137");
  expect(await tasks.finish(d)).toBe(137);
  await events.wait(d, "delete");
  expect(events.topics(d)).toEqual(["create", "start", "exit", "delete"]);
});
