/** The binary call `delete` (contract 1.3): after a normal end, in every half-state, and after the death of the shim. */

import { describe, expect } from "bun:test";
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FakeRunc, faults, type RuncVerb } from "../fault/fake-runc.ts";
import { run } from "../lib/command.ts";
import { isAlive } from "../lib/process.ts";
import { callBinary, processSpec, type Shim, shimSuite, times } from "../lib/shim.ts";
import { waitFor } from "../lib/wait.ts";

const { test } = shimSuite();

/** A time that the test may have seen: within the last minute. */
function expectRecent(milliseconds: number): void {
  expect(Date.now() - milliseconds).toBeGreaterThanOrEqual(-50);
  expect(Date.now() - milliseconds).toBeLessThan(60_000);
}

describe("after a normal end", () => {
  test("DL-1 DL-2 repeats pid, status and time of the exit, in silence", async (rig) => {
    const shim = await rig.start(await rig.bundle({ args: ["sh", "-c", "exit 7"] }));
    const pid = await shim.create();
    await shim.task.start(shim.id);
    const exit = await shim.task.wait(shim.id);
    expect(await shim.task.delete(shim.id)).toEqual({ pid, ...exit });
    await shim.end();
    const answer = await rig.delete(shim.bundle);
    expect(answer.call.stderr).toBe("");
    expect(answer).toMatchObject({ pid, exitStatus: 7 });
    expect(Math.abs(answer.exitedAt - exit.exitedAt)).toBeLessThan(0.01);
    expect(rig.leftOf(shim.bundle)).toEqual([]);
  });

  test("DL-4 the bundle's directory stays, for containerd to remove", async (rig) => {
    const shim = await rig.run();
    await shim.killInit();
    await shim.task.delete(shim.id);
    await shim.end();
    await rig.delete(shim.bundle);
    expect(existsSync(join(shim.bundle.path, "config.json"))).toBe(true);
    expect(existsSync(shim.bundle.path)).toBe(true);
  });

  test("DL-5 a second and a third call answer the same", async (rig) => {
    const shim = await rig.run({ args: ["sh", "-c", "exit 3"] });
    await shim.task.wait(shim.id);
    await shim.signal("SIGKILL");
    const answers = [await rig.delete(shim.bundle), await rig.delete(shim.bundle), await rig.delete(shim.bundle)];
    expect(new Set(answers.map(({ pid, exitStatus, exitedAt }) => `${pid} ${exitStatus} ${exitedAt}`)).size).toBe(1);
    expect(answers[0]?.exitStatus).toBe(3);
  });
});

describe("half-states", () => {
  test("DL-5 an empty bundle, a bundle that only has a config, one that start has used", async (rig) => {
    const empty = await rig.bundle({ config: null });
    for (const name of readdirSync(empty.path)) rmSync(join(empty.path, name));
    const untouched = await rig.bundle();
    for (const bundle of [empty, untouched]) {
      const answer = await rig.delete(bundle);
      expect(answer).toMatchObject({ pid: 0, exitStatus: 137 });
      expectRecent(answer.exitedAt);
    }
    const shim = await rig.start(await rig.bundle());
    await shim.end();
    expect(await rig.delete(shim.bundle)).toMatchObject({ pid: 0, exitStatus: 137 });
  });

  test(
    "DL-3 DL-5 damaged files: options.json, runtime, init.pid, address, shim.pid, exitstatus.json",
    async (rig) => {
      const rubbish = [
        "",
        "{",
        "null",
        "[]",
        "\0\0",
        "-1",
        "99999999999",
        "/etc/passwd",
        '{"root":7}',
        "x".repeat(5000),
      ];
      const names = ["options.json", "init.pid", "address", "shim.pid", "exitstatus.json", "runtime"];
      for (const name of names) {
        for (const content of rubbish) {
          // A runtime that cannot be run is warned of on stderr, and everything else still cleaned.
          const bundle = await rig.bundle();
          writeFileSync(join(bundle.path, name), content);
          const answer = await rig.delete(bundle);
          expect({ name, content, pid: answer.pid < 2 ** 32, status: answer.exitStatus }).toEqual({
            name,
            content,
            pid: true,
            status: 137,
          });
        }
      }
    },
    { timeout: 60_000 },
  );

  test("DL-5 a rootfs that is mounted, twice and with a mount below, and no container", async (rig) => {
    const bundle = await rig.bundle();
    const rootfs = join(bundle.path, "rootfs");
    mkdirSync(rootfs);
    await run(["mount", "--bind", rig.root, rootfs], { check: true });
    await run(["mount", "--bind", rig.root, rootfs], { check: true });
    await run(["mount", "-t", "tmpfs", "tmpfs", join(rootfs, "tmp")], { check: true });
    // Where mounts propagate, the last is there for each of the others.
    expect(rig.leftOf(bundle).length).toBeGreaterThanOrEqual(3);
    await rig.delete(bundle);
    expect(rig.leftOf(bundle)).toEqual([]);
  });

  test("DL-3 the id is a name, not a path: nothing outside the bundles is touched", async (rig) => {
    const bundle = await rig.bundle();
    for (const id of ["..", "../x", "a/b", ""]) {
      const argv = [
        "-namespace",
        rig.namespace,
        "-address",
        rig.grpcAddress,
        "-id",
        id,
        "-bundle",
        bundle.path,
        "delete",
      ];
      const answer = await callBinary({ argv, cwd: bundle.path, env: rig.environment() });
      expect(answer.exitCode).toBe(1);
      expect(answer.stdout.length).toBe(0);
      expect(answer.stderr).toMatch(/^container id [^\n]+\n$/);
    }
    const argv = ["-namespace", "../x", "-address", rig.grpcAddress, "-id", bundle.id, "delete"];
    const answer = await callBinary({ argv, cwd: bundle.path, env: rig.environment() });
    expect(answer.stderr).toMatch(/^namespace [^\n]+\n$/);
    expect(answer.exitCode).toBe(1);
  });

  test("DL-3 options.json says where runc keeps its state, and which runc it is", async (rig) => {
    const fake = new FakeRunc(join(rig.dir, "fake-root"));
    const root = join(rig.dir, "runc-root");
    const shim = await rig.run({}, { runc: { root, binaryName: fake.path } });
    expect(existsSync(join(root, rig.namespace, shim.id))).toBe(true);
    await shim.signal("SIGKILL");
    await rig.delete(shim.bundle);
    expect(fake.calls().at(-1)).toBe(`--root ${root}/${rig.namespace} delete --force ${shim.id}`);
    expect(existsSync(join(root, rig.namespace, shim.id))).toBe(false);
    expect(rig.leftOf(shim.bundle)).toEqual([]);
  });

  for (const [name, fault] of [
    ["hangs", faults.hang],
    ["hangs in a child that holds its output", faults.hangInChild],
    ["prints 100 MB", faults.rubbishAndFail],
    ["dies", faults.dieAtOnce],
  ] as const) {
    test(`DL-2 a runc that ${name}: an answer in less than 5 s, and the mounts are gone`, async (rig) => {
      const fake = new FakeRunc(join(rig.dir, `fake-${name.length}`));
      const shim = await rig.run({}, { runc: { binaryName: fake.path } });
      await shim.signal("SIGKILL");
      fake.on("delete", fault);
      // Without the variable the limit is that of containerd, and the first of these tests sees it.
      const answer = await rig.delete(shim.bundle, false, name === "hangs" ? {} : { BERTH_RUNC_TIMEOUT: "0.5" });
      expect(answer.call.ms).toBeLessThan(5_000);
      expect(answer.call.stderr).toMatch(/delete/);
      expect(answer.call.stderr.length).toBeLessThan(4_000);
      expect(answer.exitStatus).toBe(137);
      expect(rig.leftOf(shim.bundle).filter((line) => line.startsWith("mount"))).toEqual([]);
      // What runc did not do, its cgroup has done (R08).
      expect(rig.leftOf(shim.bundle).filter((line) => /^(process|cgroup)/.test(line))).toEqual([]);
      fake.clear();
      await rig.delete(shim.bundle);
      expect(rig.leftOf(shim.bundle)).toEqual([]);
    });
  }

  test("DL-3 a runc that is not there: a warning, and everything else is cleaned", async (rig) => {
    const bundle = await rig.bundle();
    writeFileSync(join(bundle.path, "runtime"), join(rig.dir, "no-such-runc"));
    mkdirSync(join(bundle.path, "rootfs"));
    await run(["mount", "--bind", rig.root, join(bundle.path, "rootfs")], { check: true });
    const answer = await rig.delete(bundle);
    expect(answer.call.stderr).toMatch(/no-such-runc: executable file not found/);
    expect(rig.leftOf(bundle)).toEqual([]);
  });
});

describe("DL-8 RS-5 after SIGKILL of the shim", () => {
  interface Step {
    readonly name: string;
    /** Brings a new shim to the step. */
    readonly reach: (shim: Shim, fake: FakeRunc) => Promise<void>;
    /** The exit status that `delete` answers; 137 unless told. */
    readonly status?: number;
    readonly args?: readonly string[];
    readonly ownPids?: boolean;
  }

  /** Begins a call that will never be answered, and waits until runc is in it. */
  async function during(call: Promise<unknown>, fake: FakeRunc): Promise<void> {
    call.catch(() => undefined);
    await fake.reached();
  }

  const running = async (shim: Shim): Promise<void> => {
    await shim.create();
    await shim.task.start(shim.id);
  };
  const exec = async (shim: Shim, args: readonly string[]): Promise<void> => {
    await shim.task.exec(shim.id, "e1", processSpec(args));
    await shim.task.start(shim.id, "e1");
  };
  const holding = (verb: RuncVerb, fault: string, call: (shim: Shim) => Promise<unknown>) => {
    return async (shim: Shim, fake: FakeRunc): Promise<void> => {
      if (verb !== "create") await running(shim);
      if (verb === "delete") await shim.killInit();
      fake.on(verb, fault);
      await during(call(shim), fake);
    };
  };

  const steps: Step[] = [
    { name: "start", reach: async () => undefined },
    { name: "Create", reach: async (shim) => void (await shim.create()) },
    { name: "Start", reach: running },
    { name: "Start, in the host's pid namespace", reach: running, ownPids: false },
    {
      name: "an exec's Start",
      reach: async (shim) => {
        await running(shim);
        await exec(shim, ["sleep", "1000"]);
      },
    },
    {
      name: "an exec's Start, in the host's pid namespace",
      ownPids: false,
      reach: async (shim) => {
        await running(shim);
        await exec(shim, ["sh", "-c", "sleep 1000 & sleep 1000"]);
      },
    },
    {
      name: "Pause",
      reach: async (shim) => {
        await running(shim);
        await shim.task.pause(shim.id);
      },
    },
    {
      name: "the exit",
      args: ["sh", "-c", "exit 5"],
      status: 5,
      reach: async (shim) => {
        await running(shim);
        await shim.task.wait(shim.id);
      },
    },
    {
      name: "Delete",
      args: ["sh", "-c", "exit 6"],
      status: 6,
      reach: async (shim) => {
        await running(shim);
        await shim.task.wait(shim.id);
        await shim.task.delete(shim.id);
      },
    },
    {
      name: "runc create begun",
      reach: holding("create", faults.hangInChild, (shim) => shim.create()),
    },
    { name: "runc create bound", reach: holding("create", faults.hangBound, (shim) => shim.create()) },
    { name: "runc create done", reach: holding("create", faults.hangAfter, (shim) => shim.create()) },
    {
      name: "runc start begun",
      reach: async (shim, fake) => {
        await shim.create();
        fake.on("start", faults.hang);
        await during(shim.task.start(shim.id), fake);
      },
    },
    { name: "runc exec begun", reach: holding("exec", faults.hang, (shim) => exec(shim, ["sleep", "1000"])) },
    { name: "runc exec bound", reach: holding("exec", faults.hangBound, (shim) => exec(shim, ["true"])) },
    { name: "runc exec done", reach: holding("exec", faults.hangAfter, (shim) => exec(shim, ["sleep", "1000"])) },
    { name: "runc kill begun", reach: holding("kill", faults.hang, (shim) => shim.task.kill(shim.id)) },
    { name: "runc delete begun", reach: holding("delete", faults.hang, (shim) => shim.task.delete(shim.id)) },
    { name: "runc delete done", reach: holding("delete", faults.hangAfter, (shim) => shim.task.delete(shim.id)) },
  ];

  for (const [number, step] of steps.entries()) {
    test(`after ${step.name}: nothing is left`, async (rig) => {
      const fake = new FakeRunc(join(rig.dir, `fake-kill-${number}`));
      const bundle = await rig.bundle({
        ...(step.args === undefined ? {} : { args: step.args }),
        ...(step.ownPids === undefined ? {} : { ownPids: step.ownPids }),
      });
      const shim = await rig.start(bundle, { runc: { binaryName: fake.path }, debug: number % 2 === 0 });
      await step.reach(shim, fake);
      await shim.signal("SIGKILL");
      fake.clear();
      const answer = await rig.delete(bundle, number % 2 === 0);
      expect(answer.exitStatus).toBe(step.status ?? 137);
      await waitFor("nothing to be left", () => rig.leftOf(bundle).length === 0).catch(() => undefined);
      expect(rig.leftOf(bundle)).toEqual([]);
    });
  }

  test(
    "in the middle of runc create, at ten moments of the real one: nothing is left",
    async (rig) => {
      for (let n = 0; n < times(10, 100); n++) {
        const bundle = await rig.bundle();
        const shim = await rig.start(bundle);
        shim.create().catch(() => undefined);
        await Bun.sleep(3 + (n % 10) * 5);
        await shim.signal("SIGKILL");
        await rig.delete(bundle);
        await waitFor("nothing to be left", () => rig.leftOf(bundle).length === 0).catch(() => undefined);
        expect({ after: 3 + (n % 10) * 5, left: rig.leftOf(bundle) }).toEqual({ after: 3 + (n % 10) * 5, left: [] });
      }
    },
    { timeout: 120_000 },
  );

  test(
    "R12 sockets do not pile up: start, SIGKILL, delete, many times",
    async (rig) => {
      const bundle = await rig.bundle();
      for (let n = 0; n < times(10, 200); n++) {
        const shim = await rig.start(bundle, { debug: true });
        await shim.signal("SIGKILL");
        await rig.delete(bundle);
        expect(rig.leftOf(bundle)).toEqual([]);
      }
    },
    { timeout: 120_000 },
  );
});

describe("while the shim lives", () => {
  test("DL-4 its container is killed, its exit told, and its socket stays", async (rig) => {
    const shim = await rig.run();
    const { pid } = await shim.task.state(shim.id);
    expect((await rig.delete(shim.bundle)).exitStatus).toBe(137);
    expect(isAlive(pid)).toBe(false);
    expect((await shim.task.wait(shim.id)).exitStatus).toBe(137);
    expect(shim.isAlive).toBe(true);
    expect(existsSync(shim.socket)).toBe(true);
    await rig.events.wait(shim.id, "exit");
    expect((await shim.task.delete(shim.id)).exitStatus).toBe(137);
  });
});
