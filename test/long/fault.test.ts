/** Faults of runc, of the bundle and of the disk: the right code, one clear sentence, and nothing left (T-CRE-4, PR-6). */

import { describe, expect } from "bun:test";
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Code } from "../../proto/ttrpc/index.ts";
import { FakeRunc, faults } from "../fault/fake-runc.ts";
import { run } from "../lib/command.ts";
import { isAlive, readMemory } from "../lib/process.ts";
import { expectStatus, isLong, processSpec, type Shim, type ShimRig, shimSuite, times } from "../lib/shim.ts";
import { waitFor } from "../lib/wait.ts";

const { test } = shimSuite();
const createFailed = /^OCI runtime create failed: [^\n]+$/;

let fakes = 0;
async function withFake(rig: ShimRig, running: boolean, env: Record<string, string> = {}) {
  const fake = new FakeRunc(join(rig.dir, `fake${++fakes}`));
  const shim = await rig.start(await rig.bundle(), { runc: { binaryName: fake.path }, env });
  if (running) {
    await shim.create();
    await shim.task.start(shim.id);
  }
  return { shim, fake };
}

/** What a failed Create must leave: a shim without a container, that ends when told, and nothing else. */
async function expectNothing(rig: ShimRig, shim: Shim): Promise<void> {
  const others = (): string[] =>
    rig.leftOf(shim.bundle).filter((line) => !line.includes("/s/") && !line.startsWith(`process ${shim.pid}:`));
  await waitFor("nothing to be left", () => others().length === 0, { timeout: 3_000 }).catch(() => undefined);
  expect(others()).toEqual([]);
  expect((await shim.task.connect(shim.id)).taskPid).toBe(0);
  await expectStatus(shim.task.state(shim.id), Code.NotFound, "container not created");
  expect(rig.events.of(shim.id)).toEqual([]);
  const own = ["address", "config.json", "log", "log.json", "options.json", "rootfs", "runtime", "shim.pid"];
  expect(readdirSync(shim.bundle.path).filter((name) => !own.includes(name))).toEqual([]);
}

describe("runc create", () => {
  const short = { BERTH_RUNC_TIMEOUT: "0.4" };
  const cases: [name: string, fault: string, code: number, message: RegExp, env?: Record<string, string>][] = [
    ["fails in silence", faults.fail, Code.Unknown, /exited with status 7/],
    ["dies at once", faults.dieAtOnce, Code.Unknown, /exited with status 137/],
    ["dies after its work", faults.dieAfter, Code.Unknown, /exited with status 137/],
    ["fails after its work", faults.failAfter, Code.Unknown, /exited with status 7/],
    ["hangs", faults.hang, Code.DeadlineExceeded, /did not end in time and was killed/, short],
    ["hangs in a child", faults.hangInChild, Code.DeadlineExceeded, /did not end in time and was killed/, short],
    ["hangs while it is bound", faults.hangBound, Code.DeadlineExceeded, /did not end in time and was killed/, short],
    [
      "hangs after its work",
      faults.hangAfter,
      Code.DeadlineExceeded,
      /did not end in time/,
      { BERTH_RUNC_TIMEOUT: "1" },
    ],
    ["says that it is done, and has done nothing", faults.lie, Code.Unknown, /no pid/],
    ["leaves no pid file", faults.noPid, Code.Unknown, /no pid/],
    ["writes rubbish into the pid file", faults.rubbishPid, Code.Unknown, /no pid/],
    ["prints 100 MB and fails", faults.rubbishAndFail, Code.Unknown, /exited with status 1/],
    ["prints 100 MB and says that it is done", faults.rubbish, Code.Unknown, /no pid/],
    ["writes a log that is not JSON", faults.rubbishLog, Code.Unknown, /exited with status 1/],
  ];
  for (const [name, fault, code, message, env] of cases) {
    test(`T-CRE-4 that ${name}: nothing is left, and the next Create succeeds`, async (rig) => {
      const { shim, fake } = await withFake(rig, false, env);
      fake.on("create", fault);
      expect(await expectStatus(shim.create(), code, message)).toMatch(createFailed);
      fake.clear();
      await expectNothing(rig, shim);
      await shim.create();
      expect((await shim.task.state(shim.id)).status).toBe("CREATED");
    });
  }

  test("T-KIL-5 a pid file that names a process which is not ours: refused, and that process lives", async (rig) => {
    const bystander = Bun.spawn(["sleep", "1000"]);
    try {
      for (const pid of [bystander.pid, 1, 4_000_000]) {
        const { shim, fake } = await withFake(rig, false);
        fake.on("create", `"$real" "$@" && echo ${pid} >"$pid_file"; exit`);
        await expectStatus(shim.create(), Code.Unknown, /process/);
        fake.clear();
        await expectNothing(rig, shim);
      }
      const { shim, fake } = await withFake(rig, true);
      fake.on("exec", `"$real" "$@" && echo ${bystander.pid} >"$pid_file"; exit`);
      await shim.task.exec(shim.id, "e", processSpec(["sleep", "1000"]));
      await expectStatus(shim.task.start(shim.id, "e"), Code.Unknown, /^OCI runtime exec failed: .*process/);
      await shim.task.kill(shim.id, 9, { execId: "e" }).catch(() => undefined);
      expect((await shim.task.wait(shim.id, "e")).exitStatus).toBe(255);
      expect(isAlive(bystander.pid)).toBe(true);
    } finally {
      bystander.kill("SIGKILL");
      await bystander.exited;
    }
  });

  test("TT-6 T-CRE-8 the client gives up: runc is ended, nothing is left, and the next Create succeeds", async (rig) => {
    for (const fault of [faults.hangInChild, faults.hangAfter]) {
      const { shim, fake } = await withFake(rig, false);
      fake.on("create", fault);
      await expectStatus(
        shim.task.create(shim.createRequest(), { timeoutMs: 400 }),
        Code.DeadlineExceeded,
        "context deadline exceeded",
      );
      fake.clear();
      await expectNothing(rig, shim);
      await shim.create();
    }
  });

  test(
    "T-CRE-4 killed at ten moments of its work: nothing is left",
    async (rig) => {
      for (let n = 0; n < times(10, 100); n++) {
        const { shim, fake } = await withFake(rig, false);
        const after = (0.005 + (n % 10) * 0.005).toFixed(3);
        fake.on("create", `"$real" "$@" & sleep ${after}; kill -9 $! && exit 9; wait $!; exit`);
        const outcome = await shim.create().then(
          () => "created",
          (error: { code: number }) => error.code,
        );
        if (outcome === "created") continue;
        expect(outcome).toBe(Code.Unknown);
        fake.clear();
        await expectNothing(rig, shim);
      }
    },
    { timeout: 120_000 },
  );

  test("T-CRE-4 PR-4 a runc that is not there, is no program, is no file: runc's wording, nothing left", async (rig) => {
    const plain = join(rig.dir, "plain");
    writeFileSync(plain, "#!/bin/sh\n");
    const broken = join(rig.dir, "broken");
    writeFileSync(broken, "\x7fELF nonsense");
    chmodSync(broken, 0o755);
    const stray = join(rig.dir, "stray");
    writeFileSync(stray, "#!/no/such/interpreter\n");
    chmodSync(stray, 0o755);
    const cases: [string, RegExp][] = [
      [join(rig.dir, "missing"), /executable file not found|no such file or directory/],
      ["no-runc-of-this-name", /executable file not found/],
      [plain, /permission denied|executable file not found/],
      [rig.dir, /permission denied|is a directory|executable file not found/],
      [broken, /exec/],
      [stray, /no such file or directory/],
    ];
    for (const [binaryName, message] of cases) {
      const shim = await rig.start(await rig.bundle(), { runc: { binaryName } });
      expect(await expectStatus(shim.create(), Code.Unknown, message)).toMatch(createFailed);
      await expectNothing(rig, shim);
    }
  });
});

describe("other verbs of runc", () => {
  const short = { BERTH_RUNC_TIMEOUT: "0.5" };

  test("a start that fails or hangs: the error, still CREATED, and a second try succeeds", async (rig) => {
    const { shim, fake } = await withFake(rig, false, short);
    await shim.create();
    const cases: [string, number, RegExp][] = [
      [faults.fail, Code.Unknown, /^OCI runtime start failed: .*status 7/],
      [faults.dieAtOnce, Code.Unknown, /^OCI runtime start failed: .*status 137/],
      [faults.hangInChild, Code.DeadlineExceeded, /^OCI runtime start failed: .*did not end in time/],
      [`echo "first" >&2; echo "the last line" >&2; exit 1`, Code.Unknown, /^OCI runtime start failed: the last line$/],
    ];
    for (const [fault, code, message] of cases) {
      fake.on("start", fault);
      await expectStatus(shim.task.start(shim.id), code, message);
      expect((await shim.task.state(shim.id)).status).toBe("CREATED");
    }
    fake.clear();
    await shim.task.start(shim.id);
    expect(rig.events.topics(shim.id).filter((topic) => topic === "start").length).toBeLessThanOrEqual(1);
  });

  test("T-STA-6 an exec that fails at each point: waiters released, deletable, no process left", async (rig) => {
    const { shim, fake } = await withFake(rig, true, short);
    const cases: [string, number, RegExp][] = [
      [faults.fail, Code.Unknown, /status 7/],
      [faults.dieAtOnce, Code.Unknown, /status 137/],
      [faults.hangInChild, Code.DeadlineExceeded, /did not end in time/],
      [faults.hangBound, Code.DeadlineExceeded, /did not end in time/],
      [faults.lie, Code.Unknown, /no pid/],
      [faults.noPid, Code.Unknown, /no pid/],
      [faults.rubbishPid, Code.Unknown, /no pid/],
      [faults.failAfter, Code.Unknown, /status 7/],
    ];
    for (const [n, [fault, code, message]] of cases.entries()) {
      const execId = `e${n}`;
      fake.on("exec", fault);
      await shim.task.exec(shim.id, execId, processSpec(["sleep", "1000"]));
      const waiting = shim.task.wait(shim.id, execId);
      const text = await expectStatus(shim.task.start(shim.id, execId), code, message);
      expect(text).toMatch(/^OCI runtime exec failed: /);
      expect((await waiting).exitStatus).toBe(255);
      await shim.task.delete(shim.id, execId);
    }
    fake.clear();
    expect(readdirSync(shim.bundle.path).filter((name) => /^e\d|\.tmp$|process/.test(name))).toEqual([]);
    await shim.killInit();
    await rig.events.wait(shim.id, "exit");
    await shim.task.delete(shim.id);
    await waitFor("nothing to be left", () => !rig.leftOf(shim.bundle).some((line) => line.includes("sleep 1000")));
    expect(rig.leftOf(shim.bundle).filter((line) => line.includes("/runc/"))).toEqual([]);
  });

  test("kill, pause, resume, update, ps and delete that hang: DeadlineExceeded, and the next call works", async (rig) => {
    const { shim, fake } = await withFake(rig, true, short);
    const { task: t, id } = shim;
    const late = (verb: string): RegExp => new RegExp(`^OCI runtime ${verb} failed: .*did not end in time`);
    fake.on("kill", faults.hangInChild);
    await expectStatus(t.kill(id), Code.DeadlineExceeded, late("kill"));
    fake.on("pause", faults.hangInChild);
    await expectStatus(t.pause(id), Code.DeadlineExceeded, late("pause"));
    expect((await t.state(id)).status).toBe("RUNNING");
    fake.clear();
    await t.pause(id);
    fake.on("resume", faults.hangInChild);
    await expectStatus(t.resume(id), Code.DeadlineExceeded, late("resume"));
    expect((await t.state(id)).status).toBe("PAUSED");
    fake.clear();
    await t.resume(id);
    fake.on("update", faults.hangInChild);
    await expectStatus(t.update(id, {}), Code.DeadlineExceeded, late("update"));
    fake.on("ps", faults.hangInChild);
    expect((await t.pids(id)).length).toBe(1);
    fake.clear();
    await shim.killInit();
    fake.on("delete", faults.hangInChild);
    await expectStatus(t.delete(id), Code.DeadlineExceeded, late("delete"));
    fake.clear();
    expect((await t.delete(id)).exitStatus).toBe(137);
  });

  test("T-KIL-4 a kill of all that has killed and still runs: runc delete waits for it, for it may hold the cgroup frozen", async (rig) => {
    const { shim, fake } = await withFake(rig, true);
    fake.on("kill", faults.holdAfter);
    const kill = shim.task.kill(shim.id, 9, { all: true });
    expect((await shim.task.wait(shim.id)).exitStatus).toBe(137);
    const deletion = shim.task.delete(shim.id);
    await Bun.sleep(300);
    expect(fake.calls().some((call) => call.includes("delete"))).toBe(false);
    fake.release();
    await kill;
    expect((await deletion).exitStatus).toBe(137);
  });

  test("kill with 100 MB of rubbish: an error of one line, and the shim does not grow by it", async (rig) => {
    const { shim, fake } = await withFake(rig, true);
    await shim.task.pids(shim.id);
    const before = readMemory(shim.pid)?.private ?? 0;
    for (const verb of ["kill", "ps", "update"] as const) {
      fake.on(verb, verb === "ps" ? faults.rubbish : faults.rubbishAndFail);
      if (verb === "kill") {
        const text = await expectStatus(shim.task.kill(shim.id), Code.Unknown, /^OCI runtime kill failed: /);
        expect(text.length).toBeLessThan(1_200);
      } else if (verb === "ps") expect((await shim.task.pids(shim.id)).length).toBe(1);
      else await expectStatus(shim.task.update(shim.id, {}), Code.Unknown, /^OCI runtime update failed: /);
    }
    fake.clear();
    await waitFor("the memory to be given back", () => {
      return (readMemory(shim.pid)?.private ?? 0) - before < 24 << 20;
    });
  });

  test("kill says that there is nothing to kill, in each of the ways that runc and crun say it: NotFound", async (rig) => {
    const { shim, fake } = await withFake(rig, true);
    const samples = [
      "process already finished",
      "no such process",
      "container not running",
      `container "x" does not exist`,
      "container is not running",
    ];
    for (const sample of samples) {
      fake.on("kill", `echo 'time="x" level=error msg="${sample.replaceAll('"', '\\"')}"' >&2; exit 1`);
      await expectStatus(shim.task.kill(shim.id), Code.NotFound, "process already finished");
    }
    fake.on("kill", "echo 'permission denied' >&2; exit 1");
    await expectStatus(shim.task.kill(shim.id), Code.Unknown, "permission denied");
    fake.clear();
  });

  test("init dies while runc start is at work: the start fails, the exit is told once", async (rig) => {
    const { shim, fake } = await withFake(rig, false);
    const pid = await shim.create();
    fake.on("start", faults.hold);
    const starting = shim.task.start(shim.id);
    await fake.reached();
    process.kill(pid, "SIGKILL");
    await Bun.sleep(50);
    fake.release();
    await expectStatus(starting, Code.Unknown, /^OCI runtime start failed: /);
    expect((await shim.task.wait(shim.id)).exitStatus).toBe(137);
    expect((await shim.task.state(shim.id)).status).toBe("STOPPED");
    fake.clear();
    await shim.task.delete(shim.id);
    await rig.events.wait(shim.id, "delete");
    expect(rig.events.topics(shim.id)).toEqual(["create", "exit", "delete"]);
  });

  test("init dies while runc exec is at work: both exits are told, init's last", async (rig) => {
    const { shim, fake } = await withFake(rig, true);
    const { pid } = await shim.task.state(shim.id);
    await shim.task.exec(shim.id, "e", processSpec(["sleep", "1000"]));
    fake.on(
      "exec",
      `"$real" "$@"; code=$?; : >"$dir/reached"; while [ ! -e "$dir/go" ]; do sleep 0.02; done; exit $code`,
    );
    const starting = shim.task.start(shim.id, "e");
    await fake.reached();
    process.kill(pid, "SIGKILL");
    await Bun.sleep(100);
    expect((await shim.task.state(shim.id)).status).toBe("RUNNING");
    fake.release();
    await starting;
    expect((await shim.task.wait(shim.id)).exitStatus).toBe(137);
    await rig.events.wait(shim.id, "exit");
    expect(rig.events.topics(shim.id)).toEqual(["create", "start", "exec-added:e", "exec-started:e", "exit:e", "exit"]);
  });
});

describe("bundle and disk", () => {
  test("PR-6 the bundle is removed under the shim: the container can still be told, killed and deleted", async (rig) => {
    const shim = await rig.start(await rig.bundle({ mount: false }));
    await shim.create();
    await shim.task.start(shim.id);
    rmSync(shim.bundle.path, { recursive: true });
    expect((await shim.task.state(shim.id)).status).toBe("RUNNING");
    await shim.task.exec(shim.id, "e", processSpec(["true"]));
    await expectStatus(
      shim.task.start(shim.id, "e"),
      Code.Unknown,
      /^OCI runtime exec failed: .*no such file or directory/i,
    );
    expect((await shim.task.pids(shim.id)).length).toBe(1);
    expect((await shim.killInit()).exitStatus).toBe(137);
    expect((await shim.task.delete(shim.id)).exitStatus).toBe(137);
    await rig.events.wait(shim.id, "delete");
    await shim.task.shutdown(shim.id);
    await shim.ended();
    expect(rig.leftOf(shim.bundle)).toEqual([]);
  });

  test("T-CRE-1 a config.json that goes bad between start and Create: InvalidArgument, nothing left", async (rig) => {
    const shim = await rig.start(await rig.bundle());
    const file = join(shim.bundle.path, "config.json");
    const good = readFileSync(file);
    for (const bad of ["", "{", "[]", "null"]) {
      writeFileSync(file, bad);
      await expectStatus(shim.create(), Code.InvalidArgument, /config\.json/);
    }
    rmSync(file);
    await expectStatus(shim.create(), Code.InvalidArgument, /config\.json.*no such file or directory/);
    await expectNothing(rig, shim);
    writeFileSync(file, good);
    await shim.create();
  });

  test("T-CRE-4 a config.json that is JSON, and nonsense to runc: its words, nothing left", async (rig) => {
    for (const config of ["{}", '{"ociVersion":"1.0.2","process":7}', '{"ociVersion":"99"}', '{"linux":[]}']) {
      const shim = await rig.start(await rig.bundle({ config }));
      await expectStatus(shim.create(), Code.Unknown, createFailed);
      await expectNothing(rig, shim);
    }
  });

  /** A bundle on a disk of its own, small, that can be filled. */
  async function onSmallDisk(rig: ShimRig, body: (shim: Shim, fill: () => void, free: () => void) => Promise<void>) {
    const id = rig.id();
    const disk = join(rig.dir, `disk-${id}`);
    mkdirSync(disk);
    await run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], { check: true });
    try {
      const bundle = await rig.bundleAt(join(disk, id), {}, id);
      const shim = await rig.start(bundle);
      const filler = join(disk, "filler");
      // The last page too: a file of any size fits no more.
      const fill = (): void =>
        void Bun.spawnSync(["dd", "if=/dev/zero", `of=${filler}`, "bs=4k"], { stderr: "ignore" });
      await body(shim, fill, () => rmSync(filler, { force: true }));
      rmSync(filler, { force: true });
      await shim.empty();
      await shim.end();
      await rig.delete(bundle);
      rig.bundles = rig.bundles.filter((one) => one !== bundle);
      rig.shims = rig.shims.filter((one) => one !== shim);
    } finally {
      await run(["umount", "-l", disk]);
    }
  }

  test("PR-6 R27 Create on a full disk: one sentence, nothing left; with space again it succeeds", async (rig) => {
    await onSmallDisk(rig, async (shim, fill, free) => {
      fill();
      await expectStatus(shim.create(), Code.Unknown, /no space left on device/);
      free();
      expect(readdirSync(shim.bundle.path).filter((name) => name.endsWith(".tmp"))).toEqual([]);
      await shim.create();
      await shim.task.start(shim.id);
    });
  });

  test("PR-6 R27 the disk fills up while the container runs: it lives, its exit is told, it can be deleted", async (rig) => {
    await onSmallDisk(rig, async (shim, fill) => {
      await shim.create();
      await shim.task.start(shim.id);
      fill();
      expect((await shim.task.state(shim.id)).status).toBe("RUNNING");
      await shim.task.exec(shim.id, "e", processSpec(["true"]));
      await shim.task.start(shim.id, "e").catch((error: Error) => expect(error.message).toMatch(/no space left/i));
      await shim.task.delete(shim.id, "e");
      await shim.task.kill(shim.id, 15);
      expect((await shim.killInit()).exitStatus).toBe(137);
      expect((await shim.task.delete(shim.id)).exitStatus).toBe(137);
      await rig.events.wait(shim.id, "delete");
    });
  });

  test("ST-5 start on a full disk: one sentence, and no shim and no socket are left", async (rig) => {
    const id = rig.id();
    const disk = join(rig.dir, `disk-${id}`);
    mkdirSync(disk);
    await run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], { check: true });
    try {
      const bundle = await rig.bundleAt(join(disk, id), {}, id);
      Bun.spawnSync(["dd", "if=/dev/zero", `of=${disk}/filler`, "bs=4k"], { stderr: "ignore" });
      const answer = await rig.callStart(bundle);
      expect(answer.exitCode).toBe(1);
      expect(answer.stdout.length).toBe(0);
      expect(answer.stderr).toMatch(/^[^\n]*no space left on device\n$/);
      expect(rig.leftOf(bundle)).toEqual([]);
      rig.bundles = rig.bundles.filter((one) => one !== bundle);
    } finally {
      await run(["umount", "-l", disk]);
    }
  });
});

describe("a container that runc has already under this id", () => {
  test("T-CRE-5 is refused in runc's words, and left as it was", async (rig) => {
    const root = join(rig.dir, "shared-root");
    const id = rig.id();
    const first = await rig.start(await rig.bundle({}, id), { runc: { root } });
    const pid = await first.create();
    // A second shim of another bundle, as after a mistake with two containerds that share runc's state.
    const other = await rig.bundleAt(
      join(rig.dir, "bundles", `${id}-again`),
      { annotations: { "io.containerd.runc.v2.group": `${id}-again` } },
      id,
    );
    const second = await rig.start(other, { runc: { root } });
    await expectStatus(second.create(), Code.Unknown, /already exists/);
    expect(isAlive(pid)).toBe(true);
    await first.task.start(id);
    expect((await first.task.state(id)).status).toBe("RUNNING");
  });
});

describe("R06 R09 a client that goes away in the midst of the last thing: the shim ends a minute later", () => {
  const options = { timeout: 90_000, skip: isLong ? undefined : "takes a minute: set BERTH_LONG=1" };
  test(
    "Delete",
    async (rig) => {
      const { shim, fake } = await withFake(rig, true);
      await shim.task.kill(shim.id, 9);
      await shim.task.wait(shim.id);
      fake.on("delete", faults.hold);
      const deleting = shim.task.delete(shim.id).catch(() => undefined);
      await fake.reached();
      shim.client.close();
      await deleting;
      fake.release();
      await waitFor("the shim to end", () => !isAlive(shim.pid), { timeout: 75_000, interval: 200 });
    },
    options,
  );
  test(
    "Create",
    async (rig) => {
      const { shim, fake } = await withFake(rig, false);
      fake.on("create", faults.hang);
      const creating = shim.create().catch(() => undefined);
      await fake.reached();
      shim.client.close();
      await creating;
      await waitFor("the shim to end", () => !isAlive(shim.pid), { timeout: 75_000, interval: 200 });
    },
    options,
  );
});
