/** Which events come, and in which order (contract 1.9). */

import { expect } from "bun:test";
import type { ContainerdEvent } from "../lib/events.ts";
import { imageName } from "../lib/image.ts";
import { runtime, testsBerth } from "../lib/paths.ts";
import { containerSuite } from "../lib/suite.ts";
import { waitFor } from "../lib/wait.ts";

const suite = containerSuite();

const execSpec = { args: ["true"], cwd: "/", env: ["PATH=/bin"], user: { uid: 0, gid: 0 } };

/** The events of a topic, without `/tasks/`. */
function ofTopic(events: readonly ContainerdEvent[], topic: string): ContainerdEvent[] {
  return events.filter((e) => e.topic === `/tasks/${topic}`);
}

suite.test("EV-1 run: create, start, exit, delete, once each, with the same pid", async ({ daemon, events, id }) => {
  const c = id();
  expect((await daemon.run(c, ["sh", "-c", "exit 4"])).exitCode).toBe(4);
  await events.wait(c, "delete");
  expect(events.topics(c)).toEqual(["create", "start", "exit", "delete"]);
  const [create, start, exit, gone] = events.of(c).map((e) => e.body);
  const pid = Number(create?.["pid"]);
  expect(pid).toBeGreaterThan(1);
  expect(create).toMatchObject({ container_id: c, bundle: daemon.bundle(c), pid });
  expect(start).toMatchObject({ container_id: c, pid });
  expect(exit).toMatchObject({ container_id: c, id: c, pid, exit_status: 4 });
  expect(gone).toMatchObject({ container_id: c, pid, exit_status: 4 });
  expect(gone?.["exited_at"]).toEqual(exit?.["exited_at"]);
});

suite.test("EV-1 create tells the rootfs mounts and the stdio", async ({ daemon, events, id }) => {
  const c = id();
  await daemon.run(c, ["true"]);
  const create = (await events.wait(c, "create")).body;
  expect(create["rootfs"]).toEqual([expect.objectContaining({ type: expect.any(String), source: expect.any(String) })]);
  expect(create["io"]).toMatchObject({ stdout: expect.stringContaining(daemon.fifoDir) });
  await events.wait(c, "delete");
});

suite.test("EV-1 the events' own times never run backwards", async ({ daemon, events, id }) => {
  const c = id();
  await daemon.run(c, ["true"]);
  await events.wait(c, "delete");
  const times = events.of(c).map((e) => e.timestamp);
  expect(times).toEqual(times.toSorted());
  expect(times[0]).toStartWith(new Date().toISOString().slice(0, 4));
});

suite.test("T-STA-7 the exit of a process of one moment comes after its start", async ({ daemon, events, id }) => {
  for (let i = 0; i < 10; i++) {
    const c = id();
    await daemon.run(c, ["true"]);
    await events.wait(c, "delete");
    expect(events.topics(c)).toEqual(["create", "start", "exit", "delete"]);
  }
});

suite.test("T-EXE-4 exec: added, started, exit, and no delete event", async ({ daemon, tasks, events, id }) => {
  const c = id();
  await daemon.runDetached(c, ["sleep", "1000"]);
  await tasks.exec(c, "x", { ...execSpec, args: ["sh", "-c", "exit 6"] });
  await events.wait(c, "exec-added");
  expect(events.topics(c)).toEqual(["create", "start", "exec-added"]);
  const pid = await tasks.start(c, "x");
  await tasks.wait(c, "x");
  await tasks.deleteExec(c, "x");
  await events.wait(c, "exit");
  expect(events.topics(c)).toEqual(["create", "start", "exec-added", "exec-started", "exit"]);
  const [added, started, exit] = events.of(c).slice(2);
  expect(added?.body).toMatchObject({ container_id: c, exec_id: "x" });
  expect(started?.body).toMatchObject({ container_id: c, exec_id: "x", pid });
  expect(exit?.body).toMatchObject({ container_id: c, id: "x", pid, exit_status: 6 });
  await tasks.killAndFinish(c);
  await events.wait(c, "delete");
  expect(events.topics(c).slice(5)).toEqual(["exit", "delete"]);
});

suite.test("T-STA-7 many short execs: each added, started, exit in order", async ({ daemon, tasks, events, id }) => {
  const c = id();
  await daemon.runDetached(c, ["sleep", "1000"]);
  const names = Array.from({ length: 12 }, (_, i) => `x${i}`);
  const one = async (name: string): Promise<void> => {
    await tasks.exec(c, name, execSpec);
    await tasks.start(c, name);
    expect(await tasks.wait(c, name)).toBe(0);
    await tasks.deleteExec(c, name);
  };
  for (let i = 0; i < names.length; i += 4) await Promise.all(names.slice(i, i + 4).map(one));
  await events.wait(c, "exit", names.length);
  for (const name of names) {
    const own = events.of(c).filter((e) => e.body["exec_id"] === name || e.body["id"] === name);
    expect(own.map((e) => e.topic)).toEqual(["/tasks/exec-added", "/tasks/exec-started", "/tasks/exit"]);
  }
  await tasks.killAndFinish(c);
});

suite.test("PR-3 the init's exit is the last exit of its container", async ({ daemon, tasks, events, id }) => {
  const c = id();
  await daemon.runDetached(c, ["sleep", "1000"]);
  const names = ["x0", "x1", "x2"];
  for (const name of names) {
    await tasks.exec(c, name, { ...execSpec, args: ["sleep", "1000"] });
    await tasks.start(c, name);
  }
  await tasks.kill(c, 9);
  await tasks.wait(c);
  for (const name of names) await tasks.wait(c, name);
  await events.wait(c, "exit", 4);
  const exits = ofTopic(events.of(c), "exit");
  expect(exits.map((e) => e.body["exit_status"])).toEqual([137, 137, 137, 137]);
  expect(exits.at(-1)?.body["id"]).toBe(c);
  for (const name of names) await tasks.deleteExec(c, name);
  expect(await tasks.finish(c)).toBe(137);
  await events.wait(c, "delete");
  expect(ofTopic(events.of(c), "exit")).toHaveLength(4);
});

suite.test("T-KIL-1 kill: one exit with 137, then delete", async ({ daemon, tasks, events, id }) => {
  const c = id();
  await daemon.runDetached(c, ["sleep", "1000"]);
  await tasks.killAndFinish(c);
  await events.wait(c, "delete");
  expect(events.topics(c)).toEqual(["create", "start", "exit", "delete"]);
  expect(events.of(c)[2]?.body).toMatchObject({ id: c, exit_status: 137 });
});

suite.test("T-PAU-1 pause and resume: paused, resumed", async ({ daemon, tasks, events, id }) => {
  const c = id();
  await daemon.runDetached(c, ["sleep", "1000"]);
  await tasks.pause(c);
  await tasks.resume(c);
  await events.wait(c, "resumed");
  expect(events.topics(c)).toEqual(["create", "start", "paused", "resumed"]);
  await tasks.killAndFinish(c);
  await events.wait(c, "delete");
});

suite.test("T-DEL-1 create and delete without start: create, delete", async ({ tasks, events, id }) => {
  const c = id();
  await tasks.create(c, imageName, ["true"], runtime);
  await tasks.delete(c);
  await tasks.removeContainer(c);
  await events.wait(c, "delete");
  expect(events.topics(c).filter((topic) => topic !== "exit")).toEqual(["create", "delete"]);
  expect(events.topics(c).at(-1)).toBe("delete");
});

suite.test(
  "R19 T-CRE-6 out of memory: the oom event, then the exit with 137",
  async ({ daemon, events, id }) => {
    const c = id();
    // tail keeps the whole last line, and /dev/zero has only one.
    const result = await daemon.run(c, ["tail", "/dev/zero"], ["--rm", "--memory-limit", `${24 * 1024 * 1024}`], {
      timeout: 60_000,
    });
    expect(result.exitCode).toBe(137);
    await events.wait(c, "delete");
    const topics = events.topics(c);
    expect(topics.filter((topic) => topic === "oom")).toEqual(["oom"]);
    expect(topics).toEqual(["create", "start", "oom", "exit", "delete"]);
    expect(ofTopic(events.of(c), "exit")[0]?.body["exit_status"]).toBe(137);
  },
  { timeout: 90_000, skip: testsBerth ? undefined : "the reference may send oom after the exit it explains" },
);

suite.test(
  "R19 an exec that runs out of memory: oom, and the container stays",
  async ({ daemon, tasks, events, id }) => {
    const c = id();
    await daemon.runDetached(c, ["sleep", "1000"], ["--null-io", "--memory-limit", `${24 * 1024 * 1024}`]);
    const result = await daemon.exec(c, ["tail", "/dev/zero"], [], { timeout: 60_000 });
    expect(result.exitCode).toBe(137);
    await events.wait(c, "oom");
    expect((await tasks.get(c)).status).toBe("RUNNING");
    await tasks.killAndFinish(c);
  },
  { timeout: 90_000 },
);

suite.test(
  "EV-1 every event of many containers at once keeps its container's order",
  async (context) => {
    const { daemon, events } = context;
    const ids = Array.from({ length: 8 }, () => context.id());
    await Promise.all(
      [0, 1, 2, 3].map(async (part) => {
        for (const c of ids.filter((_, i) => i % 4 === part)) await daemon.run(c, ["true"]);
      }),
    );
    await waitFor("all deletes", () => ids.every((c) => events.topics(c).includes("delete")));
    for (const c of ids) expect(events.topics(c)).toEqual(["create", "start", "exit", "delete"]);
  },
  { timeout: 60_000 },
);
