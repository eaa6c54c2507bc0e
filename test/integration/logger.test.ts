/** Logging binaries (contract 1.12 IO-3, R14). */

import { expect } from "bun:test";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { testsBerthd } from "../lib/berthd.ts";
import { imageName } from "../lib/image.ts";
import { LoggerFiles } from "../lib/logger.ts";
import { runtime, testsBerth } from "../lib/paths.ts";
import { isAlive } from "../lib/process.ts";
import { containerSuite } from "../lib/suite.ts";
import { code, refused, type Tasks } from "../lib/tasks.ts";
import { waitFor } from "../lib/wait.ts";

const suite = containerSuite();
const berthOnly = { skip: testsBerth ? undefined : "berth's own promise" };
/** Makes and starts a container whose output goes to one address. */
async function start(tasks: Tasks, id: string, script: string, uri: string): Promise<void> {
  await tasks.create(id, imageName, ["sh", "-c", script], runtime, { stdout: uri, stderr: uri });
  await tasks.start(id);
}

suite.test("IO-3 a logger is told what to log, and the container waits until it is ready", async (context) => {
  const { daemon, tasks, id } = context;
  const c = id();
  const files = new LoggerFiles();
  const begun = performance.now();
  await start(tasks, c, "date +%s; echo err >&2", files.uri("close", "&x=1&y=a%20b&x=2"));
  expect(performance.now() - begun).toBeGreaterThan(500);
  expect(await tasks.finish(c)).toBe(0);
  expect(Number(files.read("out"))).toBeGreaterThanOrEqual(Math.floor(Number(files.read("ready")) / 1e9));
  expect(files.read("err")).toBe("err\n");
  // Pairs in any order, each key once with its first value.
  const args = files.read("args").trimEnd();
  expect([`dir ${files.dir}`, "mode close", "x 1", "y a b"].filter((pair) => !args.includes(pair))).toEqual([]);
  expect(args).not.toContain("x 2");
  const env = files.read("env").trim().split("\n").toSorted();
  expect(env).toEqual([`CONTAINER_ID=${c}`, `CONTAINER_NAMESPACE=${daemon.namespace}`]);
  // The shell keeps its script open at 10 and above.
  expect(
    files
      .read("fds")
      .trim()
      .split("\n")
      .map(Number)
      .filter((fd) => fd < 10)
      .toSorted(),
  ).toEqual([0, 1, 2, 3, 4, 5]);
  files.remove();
});

suite.test(
  "IO-3 binary-v2: a byte makes the logger ready",
  async ({ tasks, id }) => {
    const c = id();
    const files = new LoggerFiles();
    await start(tasks, c, "echo out; echo err >&2", files.uri("byte", "", "binary-v2"));
    expect(await tasks.finish(c)).toBe(0);
    expect(files.read("out") + files.read("err")).toBe("out\nerr\n");
    files.remove();
  },
  berthOnly,
);

suite.test(
  "IO-3 binary-v2: a logger that only closes the pipe did not call ready",
  async ({ tasks, id }) => {
    const files = new LoggerFiles();
    const error = await refused(tasks, id(), { stdout: files.uri("close", "", "binary-v2") });
    expect(error.message).toContain("did not call ready");
    // berthd gives it the class that it has with containerd's shim.
    expect(error.code).toBe(testsBerthd ? code.unknown : code.failedPrecondition);
    await waitFor("the logger to be gone", () => !isAlive(files.pid));
    files.remove();
  },
  berthOnly,
);

suite.test("IO-3 a logger that is missing or may not be executed is an error at once", async ({ tasks, id }) => {
  const files = new LoggerFiles();
  const file = join(files.dir, "plain");
  writeFileSync(file, "#!/bin/sh\n");
  chmodSync(file, 0o644);
  for (const uri of [`binary://${files.dir}/missing`, `binary://${file}`, `binary://${files.dir}`]) {
    const begun = performance.now();
    const error = await refused(tasks, id(), { stdout: uri });
    expect(error.message).toContain(uri.slice("binary://".length));
    expect(performance.now() - begun).toBeLessThan(5000);
  }
  files.remove();
});

suite.test(
  "IO-3 R14 a logger that dies while the container writes 100 MB: the container goes on, the drop is counted",
  async ({ daemon, tasks, id }) => {
    const c = id();
    const files = new LoggerFiles();
    const script =
      "dd if=/dev/zero bs=1000000 count=100 2>/dev/null; dd if=/dev/zero bs=1000000 count=1 >&2 2>/dev/null";
    await start(tasks, c, script, files.uri("dies"));
    expect(await tasks.finish(c)).toBe(0);
    const count = await waitFor("the count in the shim's log", () => {
      const lines = daemon
        .log()
        .matchAll(/dropped (\d+) bytes of output: logging binary [^ ]+ had ended[^\n]* id=(\S+)/g);
      const mine = [...lines].filter((line) => line[2] === c);
      return mine.length === 2 && mine.reduce((sum, line) => sum + Number(line[1]), 0);
    });
    // The logger had read a little more than it kept.
    expect(count).toBeGreaterThan(99_000_000);
    expect(count).toBeLessThanOrEqual(100_000_000);
    expect(daemon.log()).toContain("has ended (status 4): output is dropped");
    files.remove();
  },
  berthOnly,
);

suite.test(
  "IO-3 a logger that dies before it is ready holds up nothing",
  async ({ tasks, id }) => {
    const c = id();
    const files = new LoggerFiles();
    await start(tasks, c, "dd if=/dev/zero bs=1000000 count=10 2>/dev/null; exit 5", files.uri("dead"));
    expect(await tasks.finish(c)).toBe(5);
    files.remove();
  },
  berthOnly,
);

suite.test(
  "IO-5 a logger that still reads when the container has exited gets everything",
  async ({ tasks, id }) => {
    const c = id();
    const files = new LoggerFiles();
    await start(tasks, c, "seq 1 10000", files.uri("late"));
    expect(await tasks.finish(c)).toBe(0);
    expect(files.read("out")).toBe(Array.from({ length: 10_000 }, (_, i) => `${i + 1}\n`).join(""));
    files.remove();
  },
  berthOnly,
);

suite.test("IO-3 an exec has a logger of its own, by its own id", async ({ daemon, tasks, id }) => {
  const c = id();
  await daemon.runDetached(c, ["sleep", "1000"]);
  const files = new LoggerFiles();
  const uri = files.uri("close");
  const spec = { args: ["sh", "-c", "echo out; echo err >&2"], cwd: "/", env: ["PATH=/bin"], user: { uid: 0, gid: 0 } };
  await tasks.exec(c, "x", spec, { stdout: uri, stderr: uri });
  await tasks.start(c, "x");
  expect(await tasks.wait(c, "x")).toBe(0);
  await tasks.deleteExec(c, "x");
  expect(files.read("out") + files.read("err")).toBe("out\nerr\n");
  expect(files.read("env")).toContain("CONTAINER_ID=x\n");
  expect(isAlive(files.pid)).toBe(false);
  await tasks.killAndFinish(c);
  files.remove();
});

suite.test("IO-3 ctr run --log-uri runs a logger", async ({ daemon, tasks, id }) => {
  const c = id();
  const files = new LoggerFiles();
  await daemon.runDetached(c, ["sh", "-c", "echo out; echo err >&2"], ["--log-uri", files.uri("close")]);
  await tasks.finish(c);
  expect(files.read("out") + files.read("err")).toBe("out\nerr\n");
  files.remove();
});

const long = process.env["BERTH_LONG"] ? undefined : "takes 25 s: set BERTH_LONG=1";
suite.test(
  "IO-3 a logger that does not end is asked by SIGTERM, then killed; Delete waits for it",
  async ({ tasks, id }) => {
    const one = async (mode: string): Promise<void> => {
      const c = id();
      const files = new LoggerFiles();
      await start(tasks, c, "echo out", files.uri(mode));
      await tasks.wait(c);
      await tasks.call("Delete", "IdRequest", { containerId: c }, "DeleteResponse", 40_000);
      await tasks.removeContainer(c);
      expect(isAlive(files.pid)).toBe(false);
      expect(files.has("end")).toBe(mode === "stays");
      files.remove();
    };
    await Promise.all([one("stays"), one("stubborn")]);
  },
  { timeout: 60_000, skip: berthOnly.skip ?? long },
);
