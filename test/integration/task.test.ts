/** The Task service, line by line (contract 1.8), called directly over the shim's socket. */

import { describe, expect } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { containerd, google } from "../../proto/gen/shim.js";
import { Client, Code } from "../../proto/ttrpc/index.ts";
import { FakeRunc, faults } from "../fault/fake-runc.ts";
import { isAlive } from "../lib/process.ts";
import {
  anyBytes,
  expectStatus,
  processSpec,
  type Shim,
  type ShimRig,
  shimSuite,
  type TaskClient,
  TaskClient as TaskClientOf,
  times,
} from "../lib/shim.ts";
import { findMounts } from "../lib/sweep.ts";
import { waitFor } from "../lib/wait.ts";

const { test } = shimSuite();
const { task } = containerd;
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const precondition = Code.FailedPrecondition;

let fakes = 0;
async function withFake(rig: ShimRig, run = true): Promise<{ shim: Shim; fake: FakeRunc }> {
  const fake = new FakeRunc(join(rig.dir, `fake${++fakes}`));
  const shim = await rig.start(await rig.bundle(), { runc: { binaryName: fake.path } });
  if (run) {
    await shim.create();
    await shim.task.start(shim.id);
  }
  return { shim, fake };
}

/** Adds and starts an exec. Answers its pid. */
async function startExec(shim: Shim, execId: string, args: readonly string[]): Promise<number> {
  await shim.task.exec(shim.id, execId, processSpec(args));
  return await shim.task.start(shim.id, execId);
}

describe("a life", () => {
  test("T-CRE-2 T-STA-1 T-STT-1 T-WAI-1 T-DEL-3 T-DEL-4 states, pids and events in order", async (rig) => {
    const bundle = await rig.bundle({ args: ["sh", "-c", "exit 9"] });
    const shim = await rig.start(bundle);
    const { id, task: t } = shim;
    const pid = await shim.create();
    expect(await t.state(id)).toEqual({
      id,
      bundle: bundle.path,
      pid,
      status: "CREATED",
      stdin: "",
      stdout: "",
      stderr: "",
      terminal: false,
      exitStatus: 0,
      exitedAt: -62_135_596_800_000,
      execId: "",
    });
    expect(findMounts([`${bundle.path}/rootfs`])).toEqual([`${bundle.path}/rootfs`]);
    expect(await t.start(id)).toBe(pid);
    const exit = await t.wait(id);
    expect(exit.exitStatus).toBe(9);
    expect(Math.abs(Date.now() - exit.exitedAt)).toBeLessThan(10_000);
    expect(await t.state(id)).toMatchObject({ pid, status: "STOPPED", ...exit });
    expect(await t.wait(id)).toEqual(exit);
    expect(await t.delete(id)).toEqual({ pid, ...exit });
    await rig.events.wait(id, "delete");
    expect(rig.events.topics(id)).toEqual(["create", "start", "exit", "delete"]);
    const [created, started, exited, deleted] = rig.events.of(id);
    expect(created?.body).toMatchObject({ bundle: bundle.path, pid, rootfs: [{ type: "bind", source: rig.root }] });
    expect(started?.body).toMatchObject({ pid });
    expect(exited?.body).toMatchObject({ id, pid, exitStatus: 9 });
    expect(deleted?.body).toMatchObject({ pid, exitStatus: 9 });
    for (const event of rig.events.of(id)) {
      expect(event).toMatchObject({ namespace: rig.namespace, metadata: rig.namespace });
      expect(event.typeUrl).toMatch(/^containerd\.events\.Task[A-Z]/);
      expect(event.seconds).toBeGreaterThan(1.6e9);
    }
    expect(rig.leftOf(bundle).filter((line) => !line.startsWith("process") && !line.includes("/s/"))).toEqual([]);
  });

  test("T-CRE-3 the arguments of runc", async (rig) => {
    const { shim, fake } = await withFake(rig);
    const root = `--root /run/containerd/runc/${rig.namespace}`;
    const b = shim.bundle.path;
    expect(fake.calls()).toEqual([
      `${root} --log ${b}/log.json --log-format json create --bundle ${b} --pid-file ${b}/init.pid ${shim.id}`,
      `${root} start ${shim.id}`,
    ]);
    const options = { binaryName: fake.path, noPivotRoot: true, noNewKeyring: true, root: join(rig.dir, "r") };
    const other = await rig.start(await rig.bundle(), { runc: options });
    await other.create();
    const place = other.bundle.path;
    expect(fake.calls().at(-1)).toBe(
      `--root ${rig.dir}/r/${rig.namespace} --log ${place}/log.json --log-format json create --bundle ${place} ` +
        `--pid-file ${place}/init.pid --no-pivot --no-new-keyring ${other.id}`,
    );
    expect(readFileSync(join(place, "runtime"), "utf8")).toBe(fake.path);
    expect(JSON.parse(readFileSync(join(place, "options.json"), "utf8"))).toMatchObject({ root: options.root });
  });

  test("T-CRE-5 a second Create, at once or later, is AlreadyExists, and the first goes on", async (rig) => {
    const shim = await rig.start(await rig.bundle());
    const both = await Promise.allSettled([shim.create(), shim.create()]);
    expect(both.map((one) => one.status).sort()).toEqual(["fulfilled", "rejected"]);
    await expectStatus(shim.create(), Code.AlreadyExists, `container ${shim.id} already exists`);
    await shim.task.start(shim.id);
    await expectStatus(shim.create(), Code.AlreadyExists, `container ${shim.id} already exists`);
    expect((await shim.task.state(shim.id)).status).toBe("RUNNING");
    await shim.empty();
    await shim.create();
    expect(rig.events.topics(shim.id).filter((topic) => topic === "create").length).toBeGreaterThanOrEqual(1);
  });

  test("T-DEL-1 a container that was created and never started can be deleted", async (rig) => {
    const shim = await rig.start(await rig.bundle());
    const pid = await shim.create();
    const deleted = await shim.task.delete(shim.id);
    expect(deleted).toMatchObject({ pid, exitStatus: 137 });
    expect(isAlive(pid)).toBe(false);
    await rig.events.wait(shim.id, "delete");
    expect(rig.events.topics(shim.id).at(0)).toBe("create");
    expect(rig.events.topics(shim.id).at(-1)).toBe("delete");
    expect(rig.events.topics(shim.id)).not.toContain("start");
  });

  test("T-STT-3 init killed between Create and Start: STOPPED with the true status", async (rig) => {
    for (const how of ["Kill", "signal"]) {
      const shim = await rig.start(await rig.bundle());
      const pid = await shim.create();
      if (how === "Kill") await shim.task.kill(shim.id, 9);
      else process.kill(pid, "SIGKILL");
      expect((await shim.task.wait(shim.id)).exitStatus).toBe(137);
      expect(await shim.task.state(shim.id)).toMatchObject({ status: "STOPPED", exitStatus: 137, pid });
      await expectStatus(shim.task.start(shim.id), precondition, "cannot start a stopped process");
      expect((await shim.task.delete(shim.id)).exitStatus).toBe(137);
      await rig.events.wait(shim.id, "delete");
      expect(rig.events.topics(shim.id)).toEqual(["create", "exit", "delete"]);
    }
  });

  test("PR-4 exit status: the code, or 128 and the signal", async (rig) => {
    for (const [script, status] of [
      ["exit 0", 0],
      ["exit 255", 255],
      ["kill -9 $$", 137],
      ["kill -TERM $$", 143],
      ["kill -SEGV $$", 139],
    ] as const) {
      // The inner shell's fate is the outer one's: a pid namespace's init is safe from its own signals.
      const shim = await rig.run({ args: ["sh", "-c", script], ownPids: false });
      expect((await shim.task.wait(shim.id)).exitStatus).toBe(status);
    }
  });

  test(
    `T-STA-7 processes that die at once: every exit once, after its start, ${times(25, 100)} times`,
    async (rig) => {
      const shim = await rig.run();
      for (let n = 0; n < times(25, 100); n++) {
        const execId = `e${n}`;
        await startExec(shim, execId, n % 2 === 0 ? ["true"] : ["sh", "-c", `exit ${n % 7}`]);
        expect((await shim.task.wait(shim.id, execId)).exitStatus).toBe(n % 2 === 0 ? 0 : n % 7);
        await rig.events.wait(shim.id, `exit:${execId}`);
        await shim.task.delete(shim.id, execId);
      }
      const topics = rig.events.topics(shim.id);
      for (let n = 0; n < times(25, 100); n++) {
        const seen = topics.filter((topic) => topic.endsWith(`:e${n}`));
        expect(seen).toEqual([`exec-added:e${n}`, `exec-started:e${n}`, `exit:e${n}`]);
      }
    },
    { timeout: 120_000 },
  );

  test(
    `T-STA-7 inits that die at once: the start is told before the exit, ${times(10, 100)} times`,
    async (rig) => {
      for (let n = 0; n < times(10, 100); n++) {
        const shim = await rig.run({ args: ["true"] });
        await rig.events.wait(shim.id, "exit");
        expect(rig.events.topics(shim.id)).toEqual(["create", "start", "exit"]);
        await shim.empty();
        await shim.end();
      }
    },
    { timeout: 120_000 },
  );

  test("EV order: init's exit comes after all execs', also when they die of it", async (rig) => {
    for (const ownPids of [true, false]) {
      const shim = await rig.run({ ownPids });
      for (const execId of ["a", "b", "c"]) await startExec(shim, execId, ["sleep", "1000"]);
      await shim.task.kill(shim.id, 9);
      expect((await shim.task.wait(shim.id)).exitStatus).toBe(137);
      await rig.events.wait(shim.id, "exit");
      const topics = rig.events.topics(shim.id);
      expect(topics.slice(-4, -1).sort()).toEqual(["exit:a", "exit:b", "exit:c"]);
      expect(topics.at(-1)).toBe("exit");
      for (const execId of ["a", "b", "c"]) expect((await shim.task.wait(shim.id, execId)).exitStatus).toBe(137);
    }
  });

  test("PR-3 in the host's pid namespace, what init leaves behind is killed", async (rig) => {
    const shim = await rig.run({ args: ["sh", "-c", "sleep 1000 & sleep 1000 & sleep 0.2"], ownPids: false });
    const of = (): number => rig.leftOf(shim.bundle).filter((line) => line.includes("sleep 1000")).length;
    await waitFor("the children", () => of() === 2);
    await shim.task.wait(shim.id);
    await waitFor("the children to be gone", () => of() === 0);
    await shim.task.delete(shim.id);
  });
});

describe("the table of states", () => {
  type Make = (shim: Shim) => Promise<void>;
  const make: Record<string, Make> = {
    created: async () => undefined,
    running: async (shim) => void (await shim.task.start(shim.id)),
    paused: async (shim) => {
      await shim.task.start(shim.id);
      await shim.task.pause(shim.id);
    },
    stopped: async (shim) => {
      await shim.task.start(shim.id);
      await shim.killInit();
    },
  };
  const verbs: Record<string, (t: TaskClient, id: string) => Promise<unknown>> = {
    start: (t, id) => t.start(id),
    pause: (t, id) => t.pause(id),
    resume: (t, id) => t.resume(id),
    exec: (t, id) => t.exec(id, "new", processSpec(["true"])),
    update: (t, id) => t.update(id, { memory: { limit: 64 << 20 } }),
    checkpoint: (t, id) => t.checkpoint(id, "/nonexistent/image"),
    delete: (t, id) => t.delete(id),
    resize: (t, id) => t.resizePty(id, 80, 25),
    kill: (t, id) => t.kill(id, 0),
  };
  /** State, verb: "ok", or the code and the text. What ends the state is at the end of its row. */
  const table: Record<string, Record<string, "ok" | readonly [number, string]>> = {
    created: {
      pause: [precondition, "cannot pause task in created state"],
      resume: [precondition, "cannot resume task in created state"],
      checkpoint: [precondition, "cannot checkpoint a task in created state"],
      exec: "ok",
      update: "ok",
      resize: "ok",
      kill: "ok",
      start: "ok",
    },
    running: {
      start: [precondition, "cannot start a running process"],
      resume: [precondition, "cannot resume a running process"],
      delete: [precondition, "cannot delete a running process"],
      exec: "ok",
      update: "ok",
      resize: "ok",
      kill: "ok",
      pause: "ok",
    },
    paused: {
      start: [precondition, "cannot start a paused process"],
      pause: [precondition, "cannot pause a paused container"],
      exec: [precondition, "cannot exec in a paused state"],
      delete: [precondition, "cannot delete a paused process"],
      update: "ok",
      resize: "ok",
      resume: "ok",
    },
    stopped: {
      start: [precondition, "cannot start a stopped process"],
      pause: [precondition, "cannot pause a stopped container"],
      resume: [precondition, "cannot resume a stopped container"],
      exec: [precondition, "init process is not running"],
      update: [precondition, "cannot update a stopped container"],
      checkpoint: [precondition, "cannot checkpoint a stopped container"],
      kill: [Code.NotFound, "process already finished"],
      resize: "ok",
      delete: "ok",
    },
  };
  for (const [state, row] of Object.entries(table)) {
    test(`T-STA-2 T-PAU-1 T-EXE-3 T-DEL-1 T-KIL-1 every verb on ${state}`, async (rig) => {
      const shim = await rig.start(await rig.bundle());
      await shim.create();
      await make[state]?.(shim);
      for (const [verb, wanted] of Object.entries(row)) {
        const call = verbs[verb]?.(shim.task, shim.id) ?? Promise.reject(new Error(`no verb ${verb}`));
        if (wanted === "ok") await call.catch((error: Error) => Promise.reject(new Error(`${verb}: ${error.message}`)));
        else await expectStatus(call, wanted[0], wanted[1]);
      }
    });
  }

  test("T-DEL-2 T-WAI-3 after Delete every verb is NotFound, but Connect and Shutdown", async (rig) => {
    const shim = await rig.run({ args: ["true"] });
    await shim.task.wait(shim.id);
    await shim.task.delete(shim.id);
    const { task: t, id } = shim;
    const more = { state: () => t.state(id), wait: () => t.wait(id), pids: () => t.pids(id), stats: () => t.stats(id) };
    const closeIO = (): Promise<void> => t.closeIO(id);
    for (const call of [...Object.values(verbs), ...Object.values(more), closeIO]) {
      await expectStatus(call(t, id), Code.NotFound, "container not created");
    }
    expect(await t.connect(id)).toMatchObject({ shimPid: shim.pid, taskPid: 0 });
  });

  test("T-STA-5 an unknown container, an unknown exec: NotFound by every verb", async (rig) => {
    const shim = await rig.run();
    const { task: t, id } = shim;
    for (const call of Object.values(verbs))
      await expectStatus(call(t, "nobody"), Code.NotFound, "container not created");
    const execs = [
      () => t.state(id, "x"),
      () => t.wait(id, "x"),
      () => t.start(id, "x"),
      () => t.delete(id, "x"),
      () => t.kill(id, 9, { execId: "x" }),
      () => t.resizePty(id, 1, 1, "x"),
      () => t.closeIO(id, "x"),
    ];
    for (const call of execs) await expectStatus(call(), Code.NotFound, "process does not exist x");
  });
});

describe("Wait", () => {
  test("T-WAI-1 many waiters, on two connections, get the same answer at once", async (rig) => {
    const shim = await rig.run();
    const second = await Client.connect({ unix: shim.socket });
    const waiting = [shim.task, new TaskClientOf(second), new TaskClientOf(second, 3)].flatMap((t) =>
      Array.from({ length: 50 }, () => t.wait(shim.id)),
    );
    await Bun.sleep(50);
    const begun = performance.now();
    await shim.task.kill(shim.id, 9);
    const exits = await Promise.all(waiting);
    expect(new Set(exits.map((exit) => JSON.stringify(exit))).size).toBe(1);
    expect(exits[0]?.exitStatus).toBe(137);
    expect(performance.now() - begun).toBeLessThan(2_000);
    second.close();
  });

  test("TT-6 T-WAI-2 waiters that give up, or whose connection goes, leave nothing behind", async (rig) => {
    const shim = await rig.start(await rig.bundle(), { debug: true });
    await shim.create();
    await shim.task.start(shim.id);
    const calls = async (): Promise<number> => {
      const answer = await fetch("http://shim/debug/state", { unix: rig.socketPath(shim.id, true) });
      return ((await answer.json()) as { callsInFlight: number }).callsInFlight;
    };
    expect(await calls()).toBe(0);
    const waits = Array.from({ length: 200 }, () => shim.task.wait(shim.id, "", { timeoutMs: 100 }));
    for (const one of await Promise.allSettled(waits)) {
      expect(one.status).toBe("rejected");
      if (one.status === "rejected") expect(one.reason).toMatchObject({ code: Code.DeadlineExceeded });
    }
    const second = await Client.connect({ unix: shim.socket });
    const lost = Array.from({ length: 50 }, () => new TaskClientOf(second).wait(shim.id).catch(() => undefined));
    await waitFor("the calls to come", async () => (await calls()) >= 50);
    second.close();
    await Promise.all(lost);
    await waitFor("no call to be in flight", async () => (await calls()) === 0, { timeout: 3_000 });
    await shim.task.kill(shim.id, 9);
    expect((await shim.task.wait(shim.id)).exitStatus).toBe(137);
  });
});

describe("Kill", () => {
  test("T-KIL-1 T-KIL-3 created and running; a second one finds nobody", async (rig) => {
    const shim = await rig.start(await rig.bundle());
    await shim.create();
    await shim.task.kill(shim.id, 9);
    await shim.task.wait(shim.id);
    await expectStatus(shim.task.kill(shim.id, 9), Code.NotFound, "process already finished");
  });

  test("T-KIL-1 the signal is the one that was asked for", async (rig) => {
    const script = "trap 'exit 41' USR1; trap 'exit 42' TERM; while :; do sleep 0.01; done";
    for (const [signal, status] of [
      [10, 41],
      [15, 42],
    ] as const) {
      const shim = await rig.run({ args: ["sh", "-c", script] });
      await Bun.sleep(100);
      await shim.task.kill(shim.id, signal);
      expect((await shim.task.wait(shim.id)).exitStatus).toBe(status);
    }
  });

  test("T-KIL-4 all reaches every process of the container", async (rig) => {
    const shim = await rig.run({ args: ["sh", "-c", "sleep 1000 & sleep 1000 & wait; exit 3"], ownPids: false });
    const pid = await startExec(shim, "e", ["sleep", "1000"]);
    await shim.task.kill(shim.id, 9, { all: true });
    expect((await shim.task.wait(shim.id)).exitStatus).toBe(137);
    expect((await shim.task.wait(shim.id, "e")).exitStatus).toBe(137);
    expect(isAlive(pid)).toBe(false);
  });

  test("T-KIL-2 an exec: not started, running, exited", async (rig) => {
    const shim = await rig.run();
    const { task: t, id } = shim;
    await t.exec(id, "e", processSpec(["sleep", "1000"]));
    await expectStatus(t.kill(id, 9, { execId: "e" }), precondition, "process not created");
    await t.start(id, "e");
    await t.kill(id, 15, { execId: "e" });
    expect((await t.wait(id, "e")).exitStatus).toBe(143);
    await expectStatus(t.kill(id, 9, { execId: "e" }), Code.NotFound, "process already finished");
    expect((await t.state(id)).status).toBe("RUNNING");
  });

  test("a signal that does not exist is InvalidArgument", async (rig) => {
    const shim = await rig.run();
    for (const signal of [65, 1000, 0xffff_ffff]) {
      await expectStatus(shim.task.kill(shim.id, signal), Code.InvalidArgument, "does not exist");
    }
  });
});

describe("Exec", () => {
  test("T-EXE-1 T-EXE-2 T-EXE-4 T-STA-3 a life; the id is free again after Delete", async (rig) => {
    const shim = await rig.run();
    const { task: t, id } = shim;
    for (let round = 0; round < 2; round++) {
      await t.exec(id, "e1", processSpec(["sh", "-c", "exit 4"]));
      expect(await t.state(id, "e1")).toMatchObject({ status: "CREATED", pid: 0, execId: "e1" });
      await expectStatus(t.exec(id, "e1", processSpec(["true"])), Code.AlreadyExists, "already exists");
      const pid = await t.start(id, "e1");
      const exit = await t.wait(id, "e1");
      expect(exit.exitStatus).toBe(4);
      expect(await t.state(id, "e1")).toMatchObject({ status: "STOPPED", pid, exitStatus: 4 });
      await expectStatus(t.start(id, "e1"), precondition, "cannot start a stopped process");
      expect(await t.delete(id, "e1")).toEqual({ pid, ...exit });
      await expectStatus(t.delete(id, "e1"), Code.NotFound, "process does not exist e1");
    }
    await rig.events.wait(id, "exit:e1");
    const life = ["exec-added:e1", "exec-started:e1", "exit:e1"];
    await waitFor("the second exit", () => rig.events.topics(id).length === 8);
    expect(rig.events.topics(id)).toEqual(["create", "start", ...life, ...life]);
  });

  test("T-DEL-1 a running exec cannot be deleted or started again; one never started can be deleted", async (rig) => {
    const shim = await rig.run();
    const { task: t, id } = shim;
    await startExec(shim, "e", ["sleep", "1000"]);
    await expectStatus(t.delete(id, "e"), precondition, "cannot delete a running process");
    await expectStatus(t.start(id, "e"), precondition, "cannot start a running process");
    await t.exec(id, "never", processSpec(["true"]));
    expect(await t.delete(id, "never")).toMatchObject({ pid: 0 });
    await expectStatus(t.state(id, "never"), Code.NotFound, "process does not exist never");
  });

  test("T-EXE-5 Exec on a created container is accepted; its Start fails or runs, and nothing breaks", async (rig) => {
    const shim = await rig.start(await rig.bundle());
    await shim.create();
    await shim.task.exec(shim.id, "early", processSpec(["true"]));
    const code = await shim.task.start(shim.id, "early").then(
      () => Code.OK,
      (error: { code: number }) => error.code,
    );
    expect([Code.OK, Code.Unknown, precondition].map(Number)).toContain(code);
    await shim.task.wait(shim.id, "early");
    await shim.task.delete(shim.id, "early");
    await shim.task.start(shim.id);
    expect((await shim.task.state(shim.id)).status).toBe("RUNNING");
  });

  test("T-STA-6 a program that is not there: runc's own words, waiters released, init's exit not held", async (rig) => {
    const shim = await rig.run();
    const { task: t, id } = shim;
    await t.exec(id, "bad", processSpec(["/no/such/program"]));
    const waiting = t.wait(id, "bad");
    await expectStatus(
      t.start(id, "bad"),
      Code.Unknown,
      /^OCI runtime exec failed: .*(no such file or directory|executable file not found)/i,
    );
    expect((await waiting).exitStatus).toBe(255);
    expect((await t.state(id, "bad")).status).toBe("STOPPED");
    await shim.killInit();
    await t.delete(id, "bad");
    await rig.events.wait(id, "exit");
    expect(rig.events.topics(id)).toEqual(["create", "start", "exec-added:bad", "exit"]);
  });

  test("T-STA-4 exec after init's exit", async (rig) => {
    const shim = await rig.run();
    const { task: t, id } = shim;
    await t.exec(id, "before", processSpec(["true"]));
    await shim.killInit();
    const text = `container ${id} init process is not running`;
    await expectStatus(t.start(id, "before"), precondition, text);
    await expectStatus(t.exec(id, "after", processSpec(["true"])), precondition, text);
    await t.delete(id, "before");
  });

  test("T-EXE-1 bad specs and bad ids are InvalidArgument", async (rig) => {
    const shim = await rig.run();
    const { id } = shim;
    const codec = [task.v2.ExecProcessRequest, google.protobuf.Empty] as const;
    const type = "types.containerd.io/opencontainers/runtime-spec/1/Process";
    const send = (execId: string, spec: google.protobuf.Any.$Properties | null): Promise<unknown> =>
      shim.task.call("Exec", codec, { id, execId, spec });
    const good = { type_url: type, value: utf8(JSON.stringify(processSpec(["true"]))) };
    for (const spec of [null, { type_url: type, value: utf8("{") }, { type_url: type, value: utf8("[]") }]) {
      await expectStatus(send("e", spec), Code.InvalidArgument, /process spec/);
    }
    await expectStatus(
      send("e", { ...good, type_url: "example.com/Spec" }),
      Code.InvalidArgument,
      /example\.com\/Spec/,
    );
    for (const execId of ["", "..", "a/b", "../x", "a\0b", "x".repeat(77), "a b"]) {
      await expectStatus(send(execId, good), Code.InvalidArgument, /^exec id /);
    }
    expect(rig.events.topics(id)).toEqual(["create", "start"]);
  });

  test("T-STT-2 an exec of a paused container is PAUSED too, and an exec added before cannot start", async (rig) => {
    const shim = await rig.run();
    const { task: t, id } = shim;
    await startExec(shim, "e", ["sleep", "1000"]);
    await t.exec(id, "late", processSpec(["true"]));
    await t.pause(id);
    expect((await t.state(id)).status).toBe("PAUSED");
    expect((await t.state(id, "e")).status).toBe("PAUSED");
    await expectStatus(t.start(id, "late"), Code.Unknown, /^OCI runtime exec failed: .*paused/);
    await t.resume(id);
    expect((await t.state(id, "e")).status).toBe("RUNNING");
    await rig.events.wait(id, "resumed");
    expect(rig.events.topics(id).slice(-2)).toEqual(["paused", "resumed"]);
  });
});

describe("Delete", () => {
  test("T-DEL-5 R05 a client that gives up: the work goes on, and all who ask again get its one result", async (rig) => {
    const { shim, fake } = await withFake(rig);
    const exit = await shim.killInit();
    fake.on("delete", faults.hold);
    await expectStatus(shim.task.delete(shim.id, "", { timeoutMs: 300 }), Code.DeadlineExceeded, "deadline");
    await expectStatus(shim.task.delete(shim.id, "", { timeoutMs: 100 }), Code.DeadlineExceeded, "deadline");
    expect((await shim.task.state(shim.id)).status).toBe("STOPPED");
    await expectStatus(shim.create(), Code.AlreadyExists, "already exists");
    const [one, two] = [shim.task.delete(shim.id), shim.task.delete(shim.id)];
    fake.release();
    expect(await one).toMatchObject(exit);
    expect(await two).toMatchObject(exit);
    await expectStatus(shim.task.delete(shim.id), Code.NotFound, "container not created");
    await rig.events.wait(shim.id, "delete");
    expect(rig.events.topics(shim.id)).toEqual(["create", "start", "exit", "delete"]);
    expect(fake.calls().filter((call) => call.includes(" delete ")).length).toBe(1);
    fake.clear();
    await shim.create();
  });

  test("T-DEL-5 a client that gives up and never asks again: the container is gone all the same", async (rig) => {
    const { shim, fake } = await withFake(rig);
    await shim.killInit();
    fake.on("delete", faults.hold);
    await expectStatus(shim.task.delete(shim.id, "", { timeoutMs: 100 }), Code.DeadlineExceeded, "deadline");
    fake.release();
    await rig.events.wait(shim.id, "delete");
    await waitFor("the ghost to be gone", async () => (await shim.task.connect(shim.id)).taskPid === 0);
    await expectStatus(shim.task.state(shim.id), Code.NotFound, "container not created");
    await shim.task.shutdown(shim.id);
    await shim.ended();
  });

  test("T-DEL-3 runc delete fails: the error is told, the container is still there, and a retry succeeds", async (rig) => {
    const { shim, fake } = await withFake(rig);
    const exit = await shim.killInit();
    fake.on("delete", `echo 'level=error msg=x' >&2; exit 4`);
    await expectStatus(shim.task.delete(shim.id), Code.Unknown, /^OCI runtime delete failed: /);
    expect((await shim.task.state(shim.id)).status).toBe("STOPPED");
    fake.clear();
    expect(await shim.task.delete(shim.id)).toMatchObject(exit);
  });

  test("T-DEL-3 runc has forgotten the container: that is fine", async (rig) => {
    const { shim, fake } = await withFake(rig);
    await shim.killInit();
    Bun.spawnSync([fake.path, "--root", `/run/containerd/runc/${rig.namespace}`, "delete", "--force", shim.id]);
    expect((await shim.task.delete(shim.id)).exitStatus).toBe(137);
  });
});

describe("Pids, Stats, Update", () => {
  test("T-PID-1 an exec's pid comes with its id, init's without", async (rig) => {
    const shim = await rig.run();
    const pid = await startExec(shim, "probe", ["sleep", "1000"]);
    const init = (await shim.task.state(shim.id)).pid;
    const sorted = (await shim.task.pids(shim.id)).sort((a, b) => a.pid - b.pid);
    const wanted = [
      { pid: init, execId: "", typeUrl: "" },
      { pid, execId: "probe", typeUrl: "containerd.runc.v1.ProcessDetails" },
    ];
    expect(sorted).toEqual(wanted.sort((a, b) => a.pid - b.pid));
  });

  for (const [name, fault] of [
    ["fails", faults.fail],
    ["prints rubbish", "echo rubbish; exit 0"],
    ["prints 100 MB", faults.rubbish],
    ["says that the container does not exist", "echo 'container does not exist' >&2; exit 1"],
    ["dies", faults.dieAtOnce],
    ["knows of none", "echo null; exit 0"],
  ] as const) {
    test(`T-PID-2 R07 runc ps ${name}: the pids that we know, never NotFound, never none`, async (rig) => {
      const { shim, fake } = await withFake(rig);
      const pid = await startExec(shim, "e", ["sleep", "1000"]);
      fake.on("ps", fault);
      const init = (await shim.task.state(shim.id)).pid;
      const pids = await shim.task.pids(shim.id);
      expect(pids.map((one) => one.pid).sort()).toEqual([init, pid].sort());
      fake.clear();
      // Also for a container that has exited: its exit has still to be told (RS-3).
      await shim.killInit();
      expect((await shim.task.pids(shim.id)).length).toBeGreaterThan(0);
    });
  }

  test("T-STS-1 the type is bare, the value is of the container; after the exit NotFound at most", async (rig) => {
    const shim = await rig.run();
    const { typeUrl, value } = await shim.task.stats(shim.id);
    expect(typeUrl).toMatch(/^io\.containerd\.cgroups\.v[12]\.Metrics$/);
    expect(value.length).toBeGreaterThan(20);
    await shim.killInit();
    await shim.task.stats(shim.id).catch((error: { code: number }) => expect(error.code).toBe(Code.NotFound));
    await shim.task.delete(shim.id);
    await expectStatus(shim.task.stats(shim.id), Code.NotFound, "container not created");
  });

  test("Update changes the limit; what is no resources is InvalidArgument; what runc refuses is its own words", async (rig) => {
    const shim = await rig.run({ resources: { pids: { limit: 50 } } });
    const { task: t, id } = shim;
    await t.update(id, { pids: { limit: 33 } });
    const file = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"]
      .map((root) => `${root}${shim.bundle.cgroup}/pids.max`)
      .find((path) => existsSync(path));
    expect(readFileSync(file ?? "", "utf8")).toBe("33\n");
    const codec = [task.v2.UpdateTaskRequest, google.protobuf.Empty] as const;
    const type = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
    for (const resources of [null, { type_url: type, value: utf8("x") }, { type_url: "a.b/C", value: utf8("{}") }]) {
      await expectStatus(t.call("Update", codec, { id, resources }), Code.InvalidArgument, /resources/);
    }
    await expectStatus(t.update(id, { cpu: { cpus: "9999" } }), Code.Unknown, /^OCI runtime update failed: /);
    expect((await t.state(id)).status).toBe("RUNNING");
  });

  test("T-PAU-2 PAUSING is shown while runc is at it, and State does not wait", async (rig) => {
    const { shim, fake } = await withFake(rig);
    fake.on("pause", faults.hold);
    const pausing = shim.task.pause(shim.id);
    await fake.reached();
    expect((await shim.task.state(shim.id, "", { timeoutMs: 1_000 })).status).toBe("PAUSING");
    fake.release();
    await pausing;
    expect((await shim.task.state(shim.id)).status).toBe("PAUSED");
  });

  test("T-PAU-3 Kill while paused ends in STOPPED, and Delete leaves nothing", async (rig) => {
    const shim = await rig.run();
    await startExec(shim, "e", ["sleep", "1000"]);
    await shim.task.pause(shim.id);
    await shim.task.kill(shim.id, 9);
    expect((await shim.task.wait(shim.id, "", { timeoutMs: 5_000 })).exitStatus).toBe(137);
    expect((await shim.task.state(shim.id)).status).toBe("STOPPED");
    await shim.task.delete(shim.id);
  });

  test("CloseIO and ResizePty without stdin and without a terminal are fine, twice", async (rig) => {
    const shim = await rig.run();
    await shim.task.exec(shim.id, "e", processSpec(["true"]));
    for (const execId of ["", "", "e", "e"]) {
      await shim.task.closeIO(shim.id, execId);
      await shim.task.resizePty(shim.id, 100, 40, execId);
    }
    await shim.task.start(shim.id, "e");
    await shim.task.wait(shim.id, "e");
    await expectStatus(shim.task.resizePty(shim.id, 1, 1, "e"), precondition, "cannot resize a stopped container");
  });
});

describe("the service", () => {
  test("TT-5 TT-7 SB-1 version 3 is the same; Sandbox and unknown methods are Unimplemented, the connection lives", async (rig) => {
    const shim = await rig.start(await rig.bundle());
    const third = new TaskClientOf(shim.client, 3);
    const pid = await third.create(shim.createRequest());
    expect(await third.start(shim.id)).toBe(pid);
    expect(await third.state(shim.id)).toEqual(await shim.task.state(shim.id));
    expect(await third.connect(shim.id)).toEqual(await shim.task.connect(shim.id));
    await expectStatus(third.start(shim.id), precondition, "cannot start a running process");
    const { Empty } = google.protobuf;
    const call = (service: string, method: string): Promise<unknown> =>
      shim.client.call(service, method, Empty, Empty, {}, { timeoutMs: 5_000 });
    const sandbox = "containerd.runtime.sandbox.v1.Sandbox";
    for (const method of ["CreateSandbox", "StartSandbox", "Platform", "StopSandbox", "WaitSandbox", "SandboxStatus"]) {
      await expectStatus(call(sandbox, method), Code.Unimplemented, sandbox);
    }
    await expectStatus(call("containerd.task.v2.Task", "Dance"), Code.Unimplemented, "Dance");
    await expectStatus(call("containerd.task.v4.Task", "State"), Code.Unimplemented, "containerd.task.v4.Task");
    expect((await third.state(shim.id)).status).toBe("RUNNING");
  });

  test("Connect answers for everybody; Shutdown with a container does nothing, without it ends the shim", async (rig) => {
    const shim = await rig.run();
    expect(await shim.task.connect("nobody")).toMatchObject({ shimPid: shim.pid, taskPid: 0 });
    expect((await shim.task.connect(shim.id)).taskPid).toBe((await shim.task.state(shim.id)).pid);
    for (const now of [false, true]) await shim.task.shutdown(shim.id, now);
    expect((await shim.task.state(shim.id)).status).toBe("RUNNING");
    await shim.empty();
    const begun = performance.now();
    await shim.task.shutdown(shim.id);
    await shim.ended(3_000);
    expect(performance.now() - begun).toBeLessThan(3_000);
    expect(existsSync(shim.socket)).toBe(false);
  });

  test("SK-5 calls of one connection run side by side: State is answered while Create is stuck", async (rig) => {
    const { shim, fake } = await withFake(rig, false);
    fake.on("create", faults.hold);
    const creating = shim.create();
    await fake.reached();
    const begun = performance.now();
    await expectStatus(shim.task.state(shim.id), Code.NotFound, "container not created");
    await shim.task.connect(shim.id);
    await shim.task.shutdown(shim.id);
    expect(performance.now() - begun).toBeLessThan(500);
    fake.release();
    expect(await creating).toBeGreaterThan(0);
  });
});

describe("Create with bad input", () => {
  test("T-CRE-1 ids and bundles that are none: InvalidArgument, and nothing is touched", async (rig) => {
    const shim = await rig.start(await rig.bundle());
    const request = shim.createRequest();
    for (const id of ["", "..", "a/b", "../x", "a\0b", "x".repeat(77), "-a", "a b"]) {
      await expectStatus(shim.task.create({ ...request, id }), Code.InvalidArgument, /^container id /);
    }
    const wrong = ["", "relative/path", `${rig.dir}/../x`, join(rig.dir, "none"), join(rig.root, "bin/busybox")];
    for (const bundle of wrong) {
      await expectStatus(shim.task.create({ ...request, bundle }), Code.InvalidArgument, /^bundle /);
    }
    expect(findMounts([`${shim.bundle.path}/`])).toEqual([]);
    expect(rig.events.of(shim.id)).toEqual([]);
  });

  test("T-CRE-1 OPT-2 options: none, runc's and generic are taken, others refused by name", async (rig) => {
    const shim = await rig.start(await rig.bundle());
    const request = shim.createRequest();
    const wrong = { type_url: "example.com/their.Options", value: new Uint8Array() };
    await expectStatus(shim.task.create({ ...request, options: wrong }), Code.InvalidArgument, "their.Options");
    const damaged = { type_url: "containerd.runc.v1.Options", value: new Uint8Array([0x0a, 0xff]) };
    await expectStatus(shim.task.create({ ...request, options: damaged }), Code.InvalidArgument, "runc.v1.Options");
    expect(anyBytes(wrong).length).toBeGreaterThan(0);
    await shim.task.create({ ...request, options: { type_url: "", value: new Uint8Array() } });
  });

  test("T-CRE-2 mounts are all or nothing", async (rig) => {
    const shim = await rig.start(await rig.bundle());
    const good = shim.createRequest().rootfs ?? [];
    for (const bad of [
      { type: "bind", source: "/no/such/place", options: ["rbind"] },
      { type: "nonsense", source: "x", options: [] },
      { type: "overlay", source: "overlay", options: ["lowerdir=/no/such/place"] },
    ]) {
      const request = { ...shim.createRequest(), rootfs: [...good, bad] };
      const error = await shim.task.create(request).catch((caught: Error) => caught);
      expect(error).toBeInstanceOf(Error);
      expect(String(error)).not.toMatch(/\n|undefined/);
      expect(findMounts([`${shim.bundle.path}/`])).toEqual([]);
    }
    await shim.create();
  });

  test("T-CRE-4 T-CRE-7 runc refuses: its words behind the prefix, no events, nothing left, and a retry is possible", async (rig) => {
    const cases: [string[], RegExp][] = [
      [["/no/such/program"], /^OCI runtime create failed: .*(no such file or directory|executable file not found)/i],
      // The second wording is crun's.
      [["/etc"], /^OCI runtime create failed: .*(permission denied|Operation not permitted)/],
      [[], /^OCI runtime create failed: .*(args|process|open executable)/],
    ];
    for (const [args, wanted] of cases) {
      const shim = await rig.start(await rig.bundle({ args }));
      await expectStatus(shim.create(), Code.Unknown, wanted);
      expect((await shim.task.connect(shim.id)).taskPid).toBe(0);
      await expectStatus(shim.task.delete(shim.id), Code.NotFound, "container not created");
      await shim.task.shutdown(shim.id);
      await shim.ended();
      expect(rig.leftOf(shim.bundle)).toEqual([]);
      expect(rig.events.of(shim.id)).toEqual([]);
    }
  });

  test("IO-1 stdio addresses that are none, and FIFOs that are not there", async (rig) => {
    const shim = await rig.start(await rig.bundle());
    await expectStatus(shim.create({ stdout: "npipe://x" }), Code.InvalidArgument, "unknown STDIO scheme");
    await expectStatus(shim.create({ stdout: "relative" }), Code.InvalidArgument, "not absolute");
    const missing = join(rig.dir, "missing-fifo");
    for (const stdio of [{ stdin: missing }, { stdout: missing }, { stderr: missing }]) {
      await expectStatus(shim.create(stdio), Code.Unknown, "no such file or directory");
    }
    expect(findMounts([`${shim.bundle.path}/`])).toEqual([]);
    await shim.create();
  });
});
