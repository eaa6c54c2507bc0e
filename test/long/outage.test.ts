/** containerd away, slow or refusing; signals to the shim; a log that nobody reads; pids that are used again. */

import { describe, expect } from "bun:test";
import { closeSync, constants, existsSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import { release } from "node:os";
import { join } from "node:path";
import { Client, Code, TtrpcError } from "../../proto/ttrpc/index.ts";
import { run } from "../lib/command.ts";
import { childrenOf, isAlive, readMemory } from "../lib/process.ts";
import { expectStatus, processSpec, type Shim, type ShimRig, shimSuite, TaskClient, times } from "../lib/shim.ts";
import { waitFor } from "../lib/wait.ts";

const { test } = shimSuite();

/** Runs execs to their ends. Answers the topics that they must give, in order. */
async function runExecs(shim: Shim, names: readonly string[]): Promise<string[]> {
  for (const name of names) {
    await shim.task.exec(shim.id, name, processSpec(["true"]));
    await shim.task.start(shim.id, name);
    await shim.task.wait(shim.id, name);
    await shim.task.delete(shim.id, name);
  }
  return names.flatMap((name) => [`exec-added:${name}`, `exec-started:${name}`, `exit:${name}`]);
}

/** Waits until as many events have come, and a moment longer for one too many. */
async function expectTopics(rig: ShimRig, shim: Shim, wanted: readonly string[], timeout = 15_000): Promise<void> {
  await waitFor(`${wanted.length} events`, () => rig.events.topics(shim.id).length >= wanted.length, { timeout }).catch(
    () => undefined,
  );
  await Bun.sleep(50);
  expect(rig.events.topics(shim.id)).toEqual([...wanted]);
}

describe("EV-3 R01 the event service", () => {
  test("is gone for a while: every event once, in order, also exits that happened meanwhile", async (rig) => {
    const shim = await rig.run({ args: ["sh", "-c", "sleep 1000; exit 1"] });
    await rig.events.wait(shim.id, "start");
    await rig.events.stop();
    const execs = await runExecs(shim, ["a", "b", "c"]);
    const exit = await shim.killInit();
    expect((await shim.task.delete(shim.id)).exitStatus).toBe(137);
    await Bun.sleep(300);
    rig.events.start();
    // A containerd that is back calls the shims that it finds, and the shim sends at once.
    const client = await Client.connect({ unix: shim.socket });
    await new TaskClient(client).connect(shim.id);
    await expectTopics(rig, shim, ["create", "start", ...execs, "exit", "delete"], 3_000);
    client.close();
    expect(
      rig.events.of(shim.id).find((event) => event.topic === "exit" && event.body.id === shim.id)?.body,
    ).toMatchObject({
      exitStatus: exit.exitStatus,
    });
  });

  test(
    `is gone for ${times(2, 60)} s, and nobody calls the shim when it is back: everything still comes`,
    async (rig) => {
      const shim = await rig.run();
      await rig.events.wait(shim.id, "start");
      await rig.events.stop();
      const execs = await runExecs(shim, ["a", "b"]);
      await Bun.sleep(times(2, 60) * 1000);
      rig.events.start();
      await expectTopics(rig, shim, ["create", "start", ...execs]);
    },
    { timeout: 120_000 },
  );

  test(
    "goes and comes again and again, in the middle of events: every event once, in order",
    async (rig) => {
      const shim = await rig.run();
      const names = Array.from({ length: times(20, 200) }, (_, n) => `e${n}`);
      let over = false;
      const flapping = (async () => {
        while (!over) {
          await Bun.sleep(40);
          await rig.events.stop();
          await Bun.sleep(40);
          rig.events.start();
        }
      })();
      const execs = await runExecs(shim, names);
      over = true;
      await flapping;
      await waitFor("all events", () => rig.events.topics(shim.id).length >= execs.length + 2, { timeout: 20_000 });
      await Bun.sleep(50);
      // An acknowledgement that was lost with its connection is the one reason to send twice (EV-3).
      const topics = rig.events.topics(shim.id).filter((topic, n, all) => topic !== all[n - 1]);
      expect(topics).toEqual(["create", "start", ...execs]);
    },
    { timeout: 120_000 },
  );

  test("was never there: the container lives and ends all the same", async (rig) => {
    await rig.events.stop();
    const shim = await rig.run();
    await runExecs(shim, ["a"]);
    await shim.killInit();
    await shim.task.delete(shim.id);
    rig.events.start();
    await shim.task.connect(shim.id);
    await expectTopics(rig, shim, ["create", "start", "exec-added:a", "exec-started:a", "exit:a", "exit", "delete"]);
  });

  test("answers Unavailable for a while: nothing is lost, nothing overtaken", async (rig) => {
    let refused = 0;
    rig.events.before = () => {
      if (refused++ < 4) throw new TtrpcError(Code.Unavailable, "not yet");
    };
    const shim = await rig.run();
    const execs = await runExecs(shim, ["a"]);
    await expectTopics(rig, shim, ["create", "start", ...execs]);
    expect(refused).toBeGreaterThan(4);
  });

  test(
    "fails with Unknown now and then: nothing is lost, nothing overtaken",
    async (rig) => {
      let call = 0;
      rig.events.before = () => {
        if (call++ % 3 !== 0) throw new Error("an error without a name");
      };
      const shim = await rig.run();
      const execs = await runExecs(shim, ["a"]);
      await expectTopics(rig, shim, ["create", "start", ...execs], 30_000);
    },
    { timeout: 60_000 },
  );

  test("refuses one event for good: it is given up, and those behind it come", async (rig) => {
    rig.events.before = (event) => {
      if (event.topic === "exec-added") throw new TtrpcError(Code.InvalidArgument, "no such topic");
    };
    const shim = await rig.run();
    await runExecs(shim, ["a"]);
    await expectTopics(rig, shim, ["create", "start", "exec-started:a", "exit:a"]);
  });

  test("EV-1 is slow: one event at a time, and no call to the shim waits for it", async (rig) => {
    let [atOnce, most] = [0, 0];
    rig.events.before = async () => {
      most = Math.max(most, ++atOnce);
      await Bun.sleep(100);
      atOnce--;
    };
    const shim = await rig.run();
    const begun = performance.now();
    const execs = await runExecs(shim, ["a", "b", "c"]);
    expect(performance.now() - begun).toBeLessThan(1_500);
    expect(rig.events.of(shim.id).length).toBeLessThan(11);
    await expectTopics(rig, shim, ["create", "start", ...execs]);
    expect(most).toBe(1);
  });

  test("EV-2 takes an event and never answers: it is asked again on a new connection", async (rig) => {
    let hung = false;
    rig.events.before = async (event) => {
      if (event.topic !== "start" || hung) return;
      hung = true;
      await Bun.sleep(7_000);
      throw new Error("too late");
    };
    const shim = await rig.run();
    await expectTopics(rig, shim, ["create", "start"], 12_000);
    expect(hung).toBe(true);
  });

  test("EV-5 Shutdown sends what is queued before the end, but waits 5 s at most", async (rig) => {
    rig.events.before = () => Bun.sleep(150);
    const patient = await rig.run({ args: ["true"] });
    await patient.task.wait(patient.id);
    await patient.task.delete(patient.id);
    await patient.end();
    expect(rig.events.topics(patient.id)).toEqual(["create", "start", "exit", "delete"]);
    rig.events.before = () => undefined;
    const shim = await rig.run({ args: ["true"] });
    await shim.task.wait(shim.id);
    await rig.events.stop();
    await shim.task.delete(shim.id);
    const begun = performance.now();
    await shim.task.shutdown(shim.id);
    await shim.ended(8_000);
    expect(performance.now() - begun).toBeLessThan(6_000);
  });
});

describe("signals to the shim", () => {
  test("PR-5 R22 SIGTERM and SIGINT: it ends at once, the container lives on, delete cleans", async (rig) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      const shim = await rig.run();
      const { pid } = await shim.task.state(shim.id);
      await rig.events.wait(shim.id, "start");
      const begun = performance.now();
      process.kill(shim.pid, signal);
      await shim.ended(2_000);
      expect(performance.now() - begun).toBeLessThan(1_000);
      expect(isAlive(pid)).toBe(true);
      expect(existsSync(shim.socket)).toBe(false);
      expect((await rig.delete(shim.bundle)).exitStatus).toBe(137);
      expect(isAlive(pid)).toBe(false);
      expect(rig.leftOf(shim.bundle)).toEqual([]);
    }
  });

  test("PR-5 SIGTERM in the middle of calls: they are answered or cut, and it ends at once", async (rig) => {
    const shim = await rig.run();
    const waits = Array.from({ length: 20 }, () => shim.task.wait(shim.id).catch((error: TtrpcError) => error.code));
    await shim.task.connect(shim.id);
    process.kill(shim.pid, "SIGTERM");
    for (const code of await Promise.all(waits)) expect(code).toBe(Code.Unavailable);
    await shim.ended(2_000);
    await rig.delete(shim.bundle);
  });

  test("PR-5 SIGPIPE, SIGHUP and the like do not end it", async (rig) => {
    const shim = await rig.run();
    process.kill(shim.pid, "SIGPIPE");
    for (let n = 0; n < 20; n++) process.kill(shim.pid, "SIGCHLD");
    expect((await shim.task.state(shim.id)).status).toBe("RUNNING");
  });

  test("PR-5 SIGUSR1 writes the state to the log", async (rig) => {
    const bundle = await rig.bundle();
    const log = openSync(join(bundle.path, "log"), constants.O_RDWR | constants.O_NONBLOCK);
    try {
      const shim = await rig.start(bundle);
      await shim.create();
      process.kill(shim.pid, "SIGUSR1");
      const text = await waitFor("the state in the log", () => readSome(log));
      expect(text).toMatch(/^time="[^"]+" level=info msg=".*callsInFlight.*" id=t\d+ namespace=\S+$/m);
      expect(text).toContain(bundle.id);
    } finally {
      closeSync(log);
    }
  });

  test("PR-1 orphans of the container that come to the shim are reaped", async (rig) => {
    const shim = await rig.run({ args: ["sh", "-c", "while :; do (sleep 0.01 &); sleep 0.02; done"], ownPids: false });
    await Bun.sleep(500);
    await waitFor("no zombie", () => childrenOf(shim.pid).every((child) => child.state !== "Z"), { timeout: 2_000 });
  });
});

/** What a non-blocking FIFO holds; undefined when there is nothing. */
function readSome(fd: number): string | undefined {
  const buffer = Buffer.alloc(1 << 20);
  let text = "";
  for (;;) {
    let count = 0;
    try {
      count = readSync(fd, buffer);
    } catch {
      return text || undefined;
    }
    if (count === 0) return text || undefined;
    text += buffer.toString("utf8", 0, count);
  }
}

describe("PR-8 R18 the log", () => {
  test("nobody reads the FIFO: the shim goes on, and says later how many lines were lost", async (rig) => {
    const shim = await rig.start(await rig.bundle(), { debug: true });
    await shim.create();
    await shim.task.start(shim.id);
    // Signals that come together are one: each is seen before the next.
    for (let n = 0; n < 400; n++) {
      process.kill(shim.pid, "SIGUSR1");
      await shim.task.connect(shim.id, { timeoutMs: 1_000 });
    }
    await runExecs(shim, ["a"]);
    expect((await shim.task.state(shim.id, "", { timeoutMs: 1_000 })).status).toBe("RUNNING");
    const log = openSync(join(shim.bundle.path, "log"), constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const old = readSome(log) ?? "";
      expect(old.length).toBeGreaterThan(30_000);
      // Every line is whole, whatever was dropped.
      for (const line of old.trimEnd().split("\n"))
        expect(line).toMatch(/^time="[^"]+" level=\w+ msg=".* namespace=\S+/);
      const more = await waitFor("the next line", async () => {
        process.kill(shim.pid, "SIGUSR1");
        await Bun.sleep(20);
        return readSome(log);
      });
      expect(more).toMatch(/level=warning msg="\d+ log lines were dropped/);
    } finally {
      closeSync(log);
    }
  });

  test("PR-6 the reader comes and goes: no line ends the shim", async (rig) => {
    const shim = await rig.start(await rig.bundle(), { debug: true });
    for (let n = 0; n < 10; n++) {
      const log = openSync(join(shim.bundle.path, "log"), constants.O_RDONLY | constants.O_NONBLOCK);
      process.kill(shim.pid, "SIGUSR1");
      closeSync(log);
      process.kill(shim.pid, "SIGUSR1");
      await shim.task.connect(shim.id);
    }
    expect(shim.isAlive).toBe(true);
  });

  test("a bundle without a log FIFO: no log, and nothing else is different", async (rig) => {
    const bundle = await rig.bundle();
    Bun.spawnSync(["rm", join(bundle.path, "log")]);
    const shim = await rig.start(bundle, { debug: true });
    await shim.create();
    process.kill(shim.pid, "SIGUSR1");
    await shim.task.start(shim.id);
    expect(readdirSync(bundle.path)).not.toContain("log");
  });
});

/** Before Linux 6.14 pid_max was one number for the whole machine, which is not ours to change. */
function whyNoSmallNamespace(): string | undefined {
  const [major = 0, minor = 0] = release().split(".").map(Number);
  return major * 1000 + minor >= 6014 ? undefined : `Linux ${release()} has no pid_max for each pid namespace`;
}

describe("T-KIL-5 R21 pids that are used again", () => {
  test(
    "in a pid namespace of 400 pids: a signal to an exec that has exited never reaches its pid's next owner",
    async (rig) => {
      const holder = Bun.spawn(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sleep", "1000"]);
      try {
        const inner = await waitFor("the namespace", () => childrenOf(holder.pid)[0]?.pid);
        const enter = ["nsenter", "--target", String(inner), "--pid", "--mount"];
        const limit = "/proc/sys/kernel/pid_max";
        const set = await run([
          ...enter,
          "sh",
          "-c",
          `echo 400 >${limit} && cat ${limit} && readlink /proc/self/ns/pid`,
        ]);
        expect(set.stdout.split("\n")[0]).toBe("400");
        expect(readFileSync(limit, "utf8").trim()).not.toBe("400");
        // Once the first 300 are used up, the kernel gives out no more than the hundred above them, round and round.
        await run([...enter, "sh", "-c", "n=0; while [ $n -lt 320 ]; do n=$((n+1)); /bin/true; done"], { check: true });
        const bundle = await rig.bundle();
        const wrapper = [...enter, "sh", "-c", `cd '${bundle.path}' && exec "$@"`, "sh"];
        const answer = await rig.callStart(bundle, { wrapper });
        expect(answer.stderr).toBe("");
        const client = await Client.connect({ unix: rig.socketPath(bundle.id) });
        const task = new TaskClient(client);
        const rootfs = bundle.rootfs.map((mount) => ({ ...mount, options: [...mount.options] }));
        await task.create({ id: bundle.id, bundle: bundle.path, rootfs });
        await task.start(bundle.id);
        for (let round = 0; round < times(3, 50); round++) {
          const execId = `e${round}`;
          await task.exec(bundle.id, execId, processSpec(["true"]));
          const pid = await task.start(bundle.id, execId);
          expect(pid).toBeLessThanOrEqual(400);
          await task.wait(bundle.id, execId);
          // Goes round until somebody else has the pid.
          const script = `n=0; while [ $n -lt 2000 ]; do n=$((n+1)); sleep 1000 >/dev/null 2>&1 & p=$!; [ $p = ${pid} ] && echo got && exit; kill -9 $p; wait $p 2>/dev/null; done`;
          const taken = await run([...enter, "sh", "-c", script], { timeout: 20_000 });
          expect(taken.stdout.trim()).toBe("got");
          await expectStatus(task.kill(bundle.id, 9, { execId }), Code.NotFound, "process already finished");
          const victim = await run([...enter, "sh", "-c", `kill -0 ${pid} && cat /proc/${pid}/comm; kill -9 ${pid}`]);
          expect(victim.stdout.trim()).toBe("sleep");
          await task.delete(bundle.id, execId);
        }
        await task.kill(bundle.id, 9);
        await task.wait(bundle.id);
        await task.delete(bundle.id);
        await task.shutdown(bundle.id);
        client.close();
        await waitFor("the shim to end", () => !existsSync(rig.socketPath(bundle.id)));
      } finally {
        holder.kill("SIGKILL");
        await holder.exited;
      }
    },
    { timeout: 120_000, skip: whyNoSmallNamespace() },
  );
});

describe("R03 R23 many", () => {
  test(
    `${times(60, 1000)} execs at a time: every exit is told once, and the memory is given back`,
    async (rig) => {
      const shim = await rig.run();
      const count = times(60, 1000);
      const life = async (execId: string): Promise<void> => {
        await shim.task.exec(shim.id, execId, processSpec(["true"]));
        await shim.task.start(shim.id, execId, { timeoutMs: 120_000 });
        expect((await shim.task.wait(shim.id, execId, { timeoutMs: 120_000 })).exitStatus).toBe(0);
        await shim.task.delete(shim.id, execId);
      };
      await life("first");
      const before = readMemory(shim.pid)?.private ?? 0;
      await Promise.all(Array.from({ length: count }, (_, n) => life(`e${n}`)));
      await waitFor(
        "all exits",
        () => rig.events.topics(shim.id).filter((topic) => topic.startsWith("exit:")).length > count,
      );
      const topics = rig.events.topics(shim.id);
      for (let n = 0; n < count; n++) {
        expect(topics.filter((topic) => topic.endsWith(`:e${n}`))).toEqual([
          `exec-added:e${n}`,
          `exec-started:e${n}`,
          `exit:e${n}`,
        ]);
      }
      expect((readMemory(shim.pid)?.private ?? 0) - before).toBeLessThan(32 << 20);
    },
    { timeout: 180_000 },
  );
});
