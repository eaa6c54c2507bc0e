/** Terminals: of init and of execs, their size, their signals and their output (contract 1.12 IO-7). */

import { expect } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Fifos } from "../lib/fifo.ts";
import { imageName } from "../lib/image.ts";
import { LoggerFiles } from "../lib/logger.ts";
import { runtime, testsBerth } from "../lib/paths.ts";
import { findShim } from "../lib/process.ts";
import { Screen } from "../lib/screen.ts";
import { containerSuite } from "../lib/suite.ts";
import { waitFor } from "../lib/wait.ts";

const suite = containerSuite();
const berthOnly = { skip: testsBerth ? undefined : "berth's own promise" };

suite.test("IO-7 a terminal follows the size of the client's", async ({ daemon, id }) => {
  const c = id();
  const screen = new Screen(daemon, daemon.runArguments(c, ["sh"], ["--rm", "-t"]), { rows: 24, cols: 80 });
  // ctr tells the size when the container runs already.
  await screen.repeat("stty size\n", /24 80/);
  screen.resize(50, 132);
  await screen.repeat("stty size\n", /50 132/);
  await screen.type("exit 6\n");
  expect(await screen.exited).toBe(6);
});

suite.test("IO-7 ctrl-c interrupts what runs in the foreground, ctrl-d ends the shell", async ({ daemon, id }) => {
  const screen = new Screen(daemon, daemon.runArguments(id(), ["sh"], ["--rm", "-t"]));
  // What it prints shows that it is in the foreground by now.
  await screen.type("sh -c 'echo up $((6*7)); exec sleep 1000'\n", /up 42/);
  await screen.type("\x03");
  await screen.type("echo status $?\n", /status 130/);
  await screen.type("\x04");
  expect(await screen.exited).toBe(0);
});

suite.test("IO-7 an exec has a terminal of its own", async ({ daemon, tasks, id }) => {
  const c = id();
  await daemon.runDetached(c, ["sleep", "1000"]);
  const argv = ["tasks", "exec", "--exec-id", "x", "-t", "--fifo-dir", daemon.fifoDir, c, "sh"];
  const screen = new Screen(daemon, argv, { rows: 20, cols: 70 });
  await screen.repeat("test -t 2 && stty size\n", /20 70/);
  screen.resize(21, 71);
  await screen.repeat("stty size\n", /21 71/);
  await screen.type("exit 4\n");
  expect(await screen.exited).toBe(4);
  await tasks.killAndFinish(c);
});

suite.test("IO-7 attach finds the terminal again after the client has vanished", async ({ daemon, tasks, id }) => {
  const c = id();
  const first = new Screen(daemon, daemon.runArguments(c, ["sh"], ["-t"]));
  await first.type("echo fir''st\n", /first/);
  await first.kill();
  const second = new Screen(daemon, ["tasks", "attach", c]);
  await second.repeat("echo sec''ond\n", /second/);
  await second.type("exit 3\n");
  expect(await second.exited).toBe(3);
  // attach has deleted the task.
  await tasks.removeContainer(c);
  rmSync(daemon.fifoDir, { recursive: true });
  mkdirSync(daemon.fifoDir);
});

suite.test("IO-7 vi draws a screen, follows a resize, and saves", async ({ daemon, id }) => {
  const screen = new Screen(daemon, daemon.runArguments(id(), ["sh"], ["--rm", "-t"]), { rows: 24, cols: 80 });
  await screen.type("export TERM=vt100; vi /tmp/x\n", /23;1H~/);
  await screen.type("ihello from vi", /hello from vi/);
  // An escape that something follows at once would be the beginning of a special key.
  await screen.type("\x1b");
  await Bun.sleep(100);
  screen.clear();
  screen.resize(10, 60);
  // The last line, with the name of the file, is drawn in row 10 now.
  await screen.repeat("\x0c", /\[10;1H/);
  await screen.type(":wq\n");
  screen.clear();
  await screen.type("cat /tmp/x; exit\n", /hello from vi\r/);
  expect(await screen.exited).toBe(0);
});

suite.test("IO-7 10 MB of terminal output arrive whole, to the last byte", async ({ tasks, id }) => {
  const c = id();
  const fifos = await Fifos.make();
  const reader = fifos.read(["sha256sum"]);
  const lines = 1_300_000;
  const script = `stty -opost; seq 1 ${lines} > /tmp/x; cat /tmp/x; printf end`;
  await tasks.createContainer(c, imageName, ["sh", "-c", script], runtime, ["--tty"]);
  await tasks.createTask(c, { stdout: fifos.stdout, terminal: true });
  await tasks.start(c);
  expect(await tasks.finish(c)).toBe(0);
  const hasher = new Bun.CryptoHasher("sha256");
  for (let i = 1; i <= lines; i++) hasher.update(`${i}\n`);
  expect((await reader.end()).slice(0, 64)).toBe(hasher.update("end").digest("hex"));
  await fifos.remove();
});

suite.test(
  "IO-7 IO-4 the reader of a terminal vanishes: the container goes on",
  async ({ daemon, tasks, id }) => {
    const c = id();
    const fifos = await Fifos.make();
    const reader = fifos.read(["head", "-c", "100000"]);
    await tasks.createContainer(c, imageName, ["sh", "-c", "seq 1 1000000 > /tmp/x; cat /tmp/x; exit 9"], runtime, [
      "--tty",
    ]);
    await tasks.createTask(c, { ...fifos.inOut, terminal: true });
    await tasks.start(c);
    await reader.end();
    expect(await tasks.wait(c)).toBe(9);
    await tasks.finish(c);
    expect(daemon.log()).toContain(`nobody reads terminal of ${c} any more`);
    await fifos.remove();
  },
  berthOnly,
);

suite.test("IO-3 IO-7 a terminal's output goes to a logger or a file", async ({ tasks, id }) => {
  const files = new LoggerFiles();
  const log = join(files.dir, "log");
  for (const stdout of [files.uri("close"), `file://${log}`]) {
    const c = id();
    await tasks.createContainer(c, imageName, ["sh", "-c", "test -t 1 && echo tty"], runtime, ["--tty"]);
    await tasks.createTask(c, { stdout, terminal: true });
    await tasks.start(c);
    expect(await tasks.finish(c)).toBe(0);
  }
  expect(files.read("out")).toBe("tty\r\n");
  if (testsBerth) expect(readFileSync(log, "utf8")).toBe("tty\r\n");
  files.remove();
});

suite.test(
  "IO-7 IO-4 a terminal whose reader is stopped holds the container back, and loses no byte",
  async ({ tasks, id }) => {
    const c = id();
    const fifos = await Fifos.make();
    const reader = fifos.read(["sha256sum"]);
    const script = "stty -opost; seq 1 600000 > /tmp/x; cat /tmp/x; exit 5";
    await tasks.createContainer(c, imageName, ["sh", "-c", script], runtime, ["--tty"]);
    await tasks.createTask(c, { stdout: fifos.stdout, terminal: true });
    reader.signal("SIGSTOP");
    await tasks.start(c);
    await Bun.sleep(1000);
    expect((await tasks.get(c)).status).toBe("RUNNING");
    reader.signal("SIGCONT");
    expect(await tasks.wait(c)).toBe(5);
    await tasks.finish(c);
    const hasher = new Bun.CryptoHasher("sha256");
    for (let i = 1; i <= 600_000; i++) hasher.update(`${i}\n`);
    expect((await reader.end()).slice(0, 64)).toBe(hasher.digest("hex"));
    await fifos.remove();
  },
);

suite.test(
  "IO-3 IO-7 a terminal's logger dies: the container goes on",
  async ({ daemon, tasks, id }) => {
    const files = new LoggerFiles();
    const c = id();
    const script = "seq 1 600000 > /tmp/x; cat /tmp/x; exit 5";
    await tasks.createContainer(c, imageName, ["sh", "-c", script], runtime, ["--tty"]);
    await tasks.createTask(c, { stdout: files.uri("dies"), terminal: true });
    await tasks.start(c);
    expect(await tasks.wait(c)).toBe(5);
    await tasks.finish(c);
    expect(files.read("out")).toHaveLength(1_000_000);
    expect(daemon.log()).toMatch(new RegExp(`dropped \\d+ bytes of output: logging binary [^\n]*id=${c} `));
    files.remove();
  },
  berthOnly,
);

suite.test(
  "IO-7 ResizePty before Start counts; without a terminal and on a stopped init it does nothing",
  async ({ tasks, id }) => {
    const c = id();
    const fifos = await Fifos.make();
    const reader = fifos.read();
    await tasks.createContainer(c, imageName, ["stty", "size"], runtime, ["--tty"]);
    await tasks.createTask(c, { stdout: fifos.stdout, terminal: true });
    const resize = (width: number, height: number, execId = "") =>
      tasks.call("ResizePty", "ResizePtyRequest", { containerId: c, execId, width, height }, "Empty");
    await resize(123, 45);
    await tasks.start(c);
    expect(await tasks.wait(c)).toBe(0);
    expect(await reader.end()).toBe("45 123\r\n");
    await resize(10, 10);
    await tasks.finish(c);
    await fifos.remove();
  },
);

suite.test("IO-7 terminals leave no descriptor and no socket in the shim", async ({ daemon, tasks, id }) => {
  const c = id();
  await daemon.runDetached(c, ["sleep", "1000"]);
  const shim = findShim(daemon.namespace, c)?.pid ?? 0;
  const opened = () => readdirSync(`/proc/${shim}/fd`).length;
  let before = 0;
  const spec = {
    args: ["sh", "-c", "echo hi"],
    cwd: "/",
    env: ["PATH=/bin"],
    user: { uid: 0, gid: 0 },
    terminal: true,
  };
  for (let i = 0; i < 12; i++) {
    const fifos = await Fifos.make();
    const reader = fifos.read();
    await tasks.exec(c, `x${i}`, spec, { ...fifos.inOut, terminal: true });
    await tasks.start(c, `x${i}`);
    await tasks.wait(c, `x${i}`);
    await tasks.deleteExec(c, `x${i}`);
    expect(await reader.end()).toBe("hi\r\n");
    await fifos.remove();
    if (i === 1) before = opened();
  }
  await waitFor("descriptors to be closed", () => opened() <= before);
  expect(readdirSync(daemon.bundle(c)).filter((name) => name.includes("console"))).toEqual([]);
  await tasks.killAndFinish(c);
});
