/** Where output goes and input comes from, and what happens when the other end misbehaves (contract 1.12, R14 to R18). */

import { expect } from "bun:test";
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { run } from "../lib/command.ts";
import { Fifos } from "../lib/fifo.ts";
import { imageName } from "../lib/image.ts";
import { isCrun } from "../lib/oci.ts";
import { runtime, testsBerth } from "../lib/paths.ts";
import { findShim } from "../lib/process.ts";
import { runcOptions } from "../lib/shim-options.ts";
import { writeSpec } from "../lib/spec.ts";
import { containerSuite, type TestContext } from "../lib/suite.ts";
import { refused, type Stdio, type Tasks } from "../lib/tasks.ts";
import { waitFor } from "../lib/wait.ts";

const suite = containerSuite();
/** What only berth promises: the reference is known to do worse there. */
const berthOnly = { skip: testsBerth ? undefined : "berth's own promise" };
const MB = 1_000_000;

/** Makes a container with a shell script and starts it. */
async function start(tasks: Tasks, id: string, script: string, io: Stdio): Promise<void> {
  await tasks.create(id, imageName, ["sh", "-c", script], runtime, io);
  await tasks.start(id);
}

/** The OCI process of an exec that runs a shell script. */
function shell(script: string): Record<string, unknown> {
  return { args: ["sh", "-c", script], cwd: "/", env: ["PATH=/bin"], user: { uid: 0, gid: 0 } };
}

/** Bytes that a process has written so far (proc(5)). */
function written(pid: number): number {
  return Number(/^wchar: (\d+)/m.exec(readFileSync(`/proc/${pid}/io`, "utf8"))?.[1]);
}

/** What the shim has logged of dropped bytes, summed up. */
function dropped(log: string, about: string): number {
  const lines = log.split("\n").filter((line) => line.includes(about));
  return lines.reduce((sum, line) => sum + Number(/dropped (\d+) bytes/.exec(line)?.[1] ?? 0), 0);
}

/** What a process has open, without what the kernel makes for its own waiting. */
function openFiles(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/${pid}/fd/${fd}`);
      return target.startsWith("anon_inode:") && !target.includes("pidfd") ? [] : [target];
    } catch {
      return [];
    }
  });
}

/** Waits until a process has no more open than before; the error names what it has. */
async function expectClosed(pid: number, before: readonly string[]): Promise<void> {
  const kind = (file: string) => file.replace(/\d+/g, "");
  try {
    await waitFor("descriptors to be closed", () => openFiles(pid).length <= before.length, { timeout: 3000 });
  } catch {
    expect(openFiles(pid).map(kind).toSorted()).toEqual(before.map(kind).toSorted());
  }
}

suite.test("IO-1 fifo:// and a path without a scheme are the same", async ({ tasks, id }) => {
  const c = id();
  const fifos = await Fifos.make();
  const [out, err] = [fifos.read(), fifos.read(["cat"], fifos.stderr)];
  await start(tasks, c, "echo out; echo err >&2", { stdout: `fifo://${fifos.stdout}`, stderr: fifos.stderr });
  expect(await out.end()).toBe("out\n");
  expect(await err.end()).toBe("err\n");
  await tasks.finish(c);
  await fifos.remove();
});

suite.test(
  "IO-1 file:// appends, makes its parents 0755, and is one descriptor for both",
  async ({ daemon, tasks, id }) => {
    const c = id();
    const fifos = await Fifos.make();
    const path = join(fifos.dir, "a", "b c", "log");
    const first = { stdout: `file://${path.replace(" ", "%20")}`, stderr: `file://${path.replace(" ", "%20")}` };
    await start(tasks, c, "echo one; echo two >&2; sleep 1000", first);
    await waitFor("both lines", () => readFileSync(path, "utf8") === "one\ntwo\n" || undefined);
    for (const dir of [dirname(path), dirname(dirname(path))]) expect(statSync(dir).mode & 0o777).toBe(0o755);
    expect(statSync(path).mode & 0o777).toBe(0o644);
    const shim = findShim(daemon.namespace, c)?.pid ?? 0;
    expect(openFiles(shim).filter((file) => file === path)).toHaveLength(1);
    await tasks.killAndFinish(c);
    const d = id();
    await start(tasks, d, "echo three", { stdout: first.stdout });
    await tasks.finish(d);
    expect(readFileSync(path, "utf8")).toBe("one\ntwo\nthree\n");
    await fifos.remove();
  },
);

suite.test("IO-1 an unknown scheme, a streaming address and a relative path are refused", async ({ tasks, id }) => {
  const addresses = [
    "gopher:///x",
    "ttrpc+unix:///run/x.sock?streaming_id=abc",
    ...(testsBerth ? ["relative", "file://relative", "fifo://", "file:///a%zz"] : []),
  ];
  for (const stdout of addresses) {
    const error = await refused(tasks, id(), { stdout });
    if (testsBerth) expect(error.code).toBe(3);
    if (stdout.includes("gopher")) expect(error.message).toContain("unknown STDIO scheme");
  }
});

suite.test("IO-2 a FIFO that is not there is an error at once", async ({ tasks, id }) => {
  for (const io of [{ stdout: "/nowhere/fifo" }, { stderr: "/nowhere/fifo" }, { stdin: "/nowhere/fifo" }]) {
    const begun = performance.now();
    const error = await refused(tasks, id(), io);
    expect(error.message).toContain("/nowhere/fifo");
    expect(performance.now() - begun).toBeLessThan(5000);
  }
});

suite.test(
  "IO-1 PR-7 a FIFO under file:// does not stop the shim",
  async ({ tasks, id }) => {
    const fifos = await Fifos.make();
    const error = await refused(tasks, id(), { stdout: `file://${fifos.stdout}` });
    expect(error.message).toContain(fifos.stdout);
    await fifos.remove();
  },
  berthOnly,
);

suite.test(
  "R14 a full disk under a log file: the container goes on, the log resumes, the drop is counted",
  async ({ daemon, tasks, id }) => {
    const c = id();
    const fifos = await Fifos.make();
    const disk = join(fifos.dir, "disk");
    mkdirSync(disk);
    await run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], { check: true });
    try {
      const path = join(disk, "log");
      const go = join(fifos.dir, "go");
      writeFileSync(join(disk, "ballast"), new Uint8Array(512 * 1024));
      await run(["mkfifo", go], { check: true });
      const script = `dd if=/dev/zero bs=100000 count=200 2>/dev/null; echo filled >&2; read go < /go; echo after; echo done >&2`;
      const flags = ["--mount", `type=bind,src=${go},dst=/go,options=bind`];
      const err = fifos.read(["cat"], fifos.stderr);
      await daemon.ctr(
        ["containers", "create", "--runtime", runtime, ...flags, "--", imageName, c, "sh", "-c", script],
        {
          check: true,
        },
      );
      await tasks.createTask(c, { stdout: `file://${path}`, stderr: fifos.stderr });
      await tasks.start(c);
      await waitFor("the container to have written 20 MB", () => err.text.includes("filled"));
      const before = await waitFor("the log to be full", () => {
        const { size } = statSync(path);
        return size > 400_000 && size;
      });
      expect(before).toBeLessThan(1 << 20);
      rmSync(join(disk, "ballast"));
      await Bun.sleep(50);
      writeFileSync(go, "go\n");
      expect(await err.end()).toBe("filled\ndone\n");
      expect(await tasks.finish(c)).toBe(0);
      const log = readFileSync(path);
      expect(log.subarray(-6).toString()).toBe("after\n");
      await waitFor("the count in the shim's log", () => dropped(daemon.log(), path) > 0);
      expect(dropped(daemon.log(), path)).toBe(20 * MB + 6 - log.length);
      expect(daemon.log()).toContain("no space left on device");
    } finally {
      await run(["umount", disk]);
      await fifos.remove();
    }
  },
  berthOnly,
);

suite.test(
  "R15 the reader of a FIFO vanishes in the middle of 1 GB: the container goes on, a new reader gets what follows",
  async ({ daemon, tasks, id }) => {
    const c = id();
    const fifos = await Fifos.make();
    const err = fifos.read(["cat"], fifos.stderr);
    const first = fifos.read(["head", "-c", "10000000"]);
    const script =
      "dd if=/dev/zero bs=1000000 count=1000 2>/dev/null; echo written >&2; while :; do echo tick; sleep 0.05; done";
    await start(tasks, c, script, { stdout: fifos.stdout, stderr: fifos.stderr });
    await first.end();
    const begun = performance.now();
    await waitFor("the container to have written 1 GB", () => err.text.includes("written"), { timeout: 30_000 });
    console.log(`  1 GB without a reader in ${Math.round(performance.now() - begun)} ms`);
    const second = fifos.read();
    await waitFor("the new reader to see current output", () => second.text.includes("tick\ntick\ntick\n"));
    // All that is written now is the new reader's.
    const seen = second.text.length;
    await Bun.sleep(1000);
    expect((second.text.length - seen) / 5).toBeGreaterThan(10);
    await tasks.killAndFinish(c);
    await second.end();
    await waitFor("the count in the shim's log", () => dropped(daemon.log(), `stdout of ${c}`) > 0);
    expect(dropped(daemon.log(), `stdout of ${c}`)).toBeGreaterThan(900 * MB);
    await fifos.remove();
  },
  { ...berthOnly, timeout: 60_000 },
);

suite.test(
  "R15 a new reader that comes at once takes over for good",
  async ({ tasks, id }) => {
    const c = id();
    const fifos = await Fifos.make();
    const first = fifos.read();
    await start(tasks, c, "i=0; while :; do echo $i; i=$((i+1)); usleep 2000; done", fifos.out);
    await waitFor("output", () => first.text.length > 20);
    await first.kill();
    for (let round = 0; round < 3; round++) {
      const next = fifos.read();
      await waitFor("output", () => next.text.split("\n").length > 5);
      const numbers = () => next.text.split("\n").slice(1, -1).map(Number);
      await Bun.sleep(300);
      const from = numbers().length;
      await Bun.sleep(700);
      const all = numbers();
      // A machine whose clock ticks a hundred times a second sleeps ten milliseconds for two.
      expect(all.length - from).toBeGreaterThan(20);
      expect(all.filter((n, i) => i > 0 && n !== (all[i - 1] ?? 0) + 1)).toEqual([]);
      await next.kill();
    }
    await tasks.killAndFinish(c);
    await fifos.remove();
  },
  berthOnly,
);

suite.test(
  "R15 what a container writes while nobody reads, and at its end, is kept for the next reader",
  async ({ daemon, tasks, id }) => {
    const c = id();
    const fifos = await Fifos.make();
    let reader = fifos.read();
    await start(tasks, c, "while read x; do seq $x; done; echo end", fifos.inOut);
    const stdin = openSync(fifos.stdin, "w");
    const seq = (to: number) => Array.from({ length: to }, (_, n) => `${n + 1}\n`).join("");
    const isSeen = () => daemon.log().includes(`nobody reads stdout of ${c} any more: the last 256 KiB`);
    try {
      for (let round = 1; round <= 2; round++) {
        writeSync(stdin, "2\n");
        await waitFor("the reader's own", () => reader.text.endsWith(seq(2)));
        await reader.kill();
        writeSync(stdin, "1\n");
        // A reader that comes and goes within one look of the shim's is none to it: then it says nothing anew.
        if (round === 1) await waitFor("the shim to see that nobody reads", isSeen);
        else await Bun.sleep(300);
        // Some 200 KB, once all at once and once in many writes.
        for (const part of round === 1 ? [36_000] : Array.from({ length: 100 }, () => 600))
          writeSync(stdin, `${part}\n`);
        reader = fifos.read();
        const expected = seq(1) + (round === 1 ? seq(36_000) : seq(600).repeat(100));
        await waitFor("what was written meanwhile", () => reader.text.length >= expected.length);
        expect(reader.text).toBe(expected);
      }
      await reader.kill();
      writeSync(stdin, "1000\n");
      await Bun.sleep(300);
    } finally {
      closeSync(stdin);
    }
    await tasks.closeStdin(c);
    expect(await tasks.wait(c)).toBe(0);
    reader = fifos.read();
    expect(await reader.end()).toBe(`${seq(1000)}end\n`);
    await tasks.finish(c);
    expect(dropped(daemon.log(), `stdout of ${c}`)).toBe(0);
    await fifos.remove();
  },
  berthOnly,
);

suite.test(
  "R15 a write that is larger than the pipe comes after the reader has gone: the container goes on",
  async ({ tasks, id }) => {
    const c = id();
    const fifos = await Fifos.make();
    const err = fifos.read(["cat"], fifos.stderr);
    const reader = fifos.read();
    const script = "echo begun; read x; dd if=/dev/zero bs=3000000 count=1 2>/dev/null; echo written >&2";
    await start(tasks, c, script, { ...fifos.inOut, stderr: fifos.stderr });
    await waitFor("the container to run", () => reader.text === "begun\n");
    await reader.kill();
    // The shim has seen that, and nothing to read.
    await Bun.sleep(100);
    writeFileSync(fifos.stdin, "go\n");
    await waitFor("all to be written", () => err.text === "written\n");
    expect(await tasks.finish(c)).toBe(0);
    await fifos.remove();
  },
  berthOnly,
);

suite.test(
  "R15 nothing is taken from a new reader that comes while the shim looks for readers",
  async ({ tasks, id }) => {
    const c = id();
    const fifos = await Fifos.make();
    let reader = fifos.read();
    await start(tasks, c, "while read x; do echo $x; done", fifos.inOut);
    const stdin = openSync(fifos.stdin, "w");
    // Each descriptor of each process is looked at, so that one look takes some 150 ms.
    const many =
      'for fd in $(seq 3 70); do eval "exec $fd</etc/hostname"; done; for n in $(seq 200); do sleep 100 & done; echo ready; wait';
    const others = Bun.spawn(["bash", "-c", many], { stdout: "pipe", detached: true });
    try {
      await others.stdout.getReader().read();
      for (let round = 0; round < 3; round++) {
        await reader.kill();
        // Nobody is looked for until something is written that nobody reads.
        writeSync(stdin, "first\n");
        await Bun.sleep(30);
        // A slow one, so that there is always something to take.
        reader = fifos.read(["sh", "-c", "while read x; do echo $x; sleep 0.02; done"]);
        await waitFor("the first line", () => reader.text.includes("first"));
        const lines = Array.from({ length: 20 }, (_, n) => `${n}\n`);
        await Bun.sleep(150);
        writeSync(stdin, lines.join(""));
        const expected = `first\n${lines.join("")}`;
        await waitFor("the last line", () => reader.text.includes("\n19\n"));
        expect(reader.text).toBe(expected);
      }
    } finally {
      process.kill(-others.pid, "SIGKILL");
      await others.exited;
      closeSync(stdin);
    }
    await tasks.killAndFinish(c);
    await fifos.remove();
  },
  berthOnly,
);

async function secondReader({ tasks, id }: TestContext): Promise<void> {
  const c = id();
  const fifos = await Fifos.make();
  const first = fifos.read(["sh", "-c", "n=0; while read x; do n=$((n+1)); echo $x; done"]);
  await start(tasks, c, "i=0; while [ $i -lt 1500 ]; do echo $i; i=$((i+1)); usleep 1000; done", fifos.out);
  await waitFor("output", () => first.text.length > 20);
  // A reader that opens the FIFO and leaves without reading a byte.
  for (let round = 0; round < 5; round++) {
    await run(["sh", "-c", 'exec 3< "$0"; sleep 0.05', fifos.stdout], { check: true });
  }
  expect(await first.end(25_000)).toBe(Array.from({ length: 1500 }, (_, i) => `${i}\n`).join(""));
  expect(await tasks.finish(c)).toBe(0);
  await fifos.remove();
}

suite.test("R15 a second reader that leaves takes nothing of the first's output along", secondReader, {
  timeout: 40_000,
});

suite.test(
  "R15 a FIFO whose name is removed is read to its end, and when nobody reads it the container goes on",
  async ({ tasks, id }) => {
    const c = id();
    const fifos = await Fifos.make();
    const err = fifos.read(["cat"], fifos.stderr);
    const [first, second] = [fifos.read(), fifos.read(["sh", "-c", "read go; sleep 0.2"])];
    // Lines until both readers have some, then more than a FIFO holds after the last reader has gone.
    const script =
      "i=0; while [ $i -lt 500 ]; do echo $i; i=$((i+1)); usleep 2000; done; echo lines >&2; sleep 1; dd if=/dev/zero bs=1000000 count=20 2>/dev/null; echo written >&2";
    await start(tasks, c, script, { stdout: fifos.stdout, stderr: fifos.stderr });
    rmSync(fifos.stdout);
    await second.end();
    await waitFor("the lines to be written", () => err.text.includes("lines\n"));
    // One line or so may be with the reader that left; every other one is the first's.
    await waitFor("the last line", () => first.text.endsWith("499\n"));
    expect(first.text.split("\n").length).toBeGreaterThan(450);
    await first.kill();
    expect(await err.end(20_000)).toBe("lines\nwritten\n");
    expect(await tasks.finish(c)).toBe(0);
    await fifos.remove();
  },
  { ...berthOnly, timeout: 40_000 },
);

suite.test("IO-4 a reader that is stopped holds the container back, and loses no byte", async ({ tasks, id }) => {
  const c = id();
  const fifos = await Fifos.make();
  const reader = fifos.read(["sha256sum"]);
  await start(tasks, c, "seq 1 3000000", fifos.out);
  const { pid } = await tasks.get(c);
  reader.signal("SIGSTOP");
  const held = await waitFor("the container to stand still", async () => {
    const before = written(pid);
    await Bun.sleep(200);
    return written(pid) === before && before;
  });
  expect((await tasks.get(c)).status).toBe("RUNNING");
  reader.signal("SIGCONT");
  const hasher = new Bun.CryptoHasher("sha256");
  for (let i = 1; i <= 3_000_000; i++) hasher.update(`${i}\n`);
  expect((await reader.end(20_000)).slice(0, 64)).toBe(hasher.digest("hex"));
  expect(held).toBeLessThan(22_888_896);
  await tasks.finish(c);
  await fifos.remove();
});

suite.test(
  "IO-4 IO-5 the stopped reader of an exec holds it back, and loses no byte",
  async ({ daemon, tasks, id }) => {
    const c = id();
    await daemon.runDetached(c, ["sleep", "1000"]);
    const fifos = await Fifos.make();
    const reader = fifos.read(["sha256sum"]);
    await tasks.exec(c, "x", shell("seq 1 3000000"), fifos.out);
    const pid = await tasks.start(c, "x");
    reader.signal("SIGSTOP");
    await waitFor("the exec to stand still", async () => {
      const before = written(pid);
      await Bun.sleep(200);
      return written(pid) === before;
    });
    reader.signal("SIGCONT");
    const hasher = new Bun.CryptoHasher("sha256");
    for (let i = 1; i <= 3_000_000; i++) hasher.update(`${i}\n`);
    expect(await tasks.wait(c, "x")).toBe(0);
    await tasks.deleteExec(c, "x");
    expect((await reader.end(20_000)).slice(0, 64)).toBe(hasher.digest("hex"));
    await fifos.remove();
    await tasks.killAndFinish(c);
  },
);

/** Feeds numbered lines into a FIFO; answers what an md5sum of them prints. */
async function feed(path: string, lines: number): Promise<string> {
  const { stdout } = await run(["sh", "-c", 'seq 1 "$1" | tee "$2" | md5sum', "sh", String(lines), path], {
    check: true,
    timeout: 60_000,
  });
  return stdout;
}

suite.test(
  "IO-6 100 MB of input arrive whole; the end comes by CloseIO and not by the writer's",
  async ({ tasks, id }) => {
    const c = id();
    const fifos = await Fifos.make();
    const out = fifos.read();
    await start(tasks, c, "md5sum; cat; echo still there", fifos.inOut);
    const sum = await feed(fifos.stdin, 12_500_000);
    await Bun.sleep(300);
    expect(out.text).toBe("");
    await tasks.closeStdin(c);
    expect(await out.end()).toBe(`${sum}still there\n`);
    await tasks.closeStdin(c);
    await tasks.finish(c);
    await fifos.remove();
  },
  { timeout: 60_000 },
);

suite.test("IO-6 an exec reads its input to the end, and CloseIO of one leaves the other open", async (context) => {
  const { daemon, tasks, id } = context;
  const c = id();
  await daemon.runDetached(c, ["sleep", "1000"]);
  const [a, b] = [await Fifos.make(), await Fifos.make()];
  const [outA, outB] = [a.read(), b.read()];
  await tasks.exec(c, "a", shell("md5sum"), a.inOut);
  await tasks.exec(c, "b", shell("cat"), b.inOut);
  await tasks.start(c, "a");
  await tasks.start(c, "b");
  const sum = await feed(a.stdin, 1_000_000);
  await feed(b.stdin, 2);
  await tasks.closeStdin(c, "a");
  expect(await outA.end()).toBe(sum);
  expect(await tasks.wait(c, "a")).toBe(0);
  await waitFor("what b was given", () => outB.text === "1\n2\n");
  await Bun.sleep(200);
  expect((await tasks.get(c, "b")).status).toBe("RUNNING");
  await tasks.closeStdin(c, "b");
  expect(await tasks.wait(c, "b")).toBe(0);
  for (const x of ["a", "b"]) await tasks.deleteExec(c, x);
  await tasks.killAndFinish(c);
  await a.remove();
  await b.remove();
});

suite.test("IO-6 what is in the pipe at CloseIO is read first", async ({ tasks, id }) => {
  const c = id();
  const fifos = await Fifos.make();
  const out = fifos.read();
  await start(tasks, c, "usleep 500000; cat", fifos.inOut);
  await run(["sh", "-c", 'seq 1 5000 > "$0"', fifos.stdin], { check: true });
  await tasks.closeStdin(c);
  expect(await out.end()).toBe(Array.from({ length: 5000 }, (_, i) => `${i + 1}\n`).join(""));
  await tasks.closeStdin(c);
  await tasks.finish(c);
  await fifos.remove();
});

suite.test(
  "IO-6 a CloseIO before the exec is started is not lost",
  async ({ daemon, tasks, id }) => {
    const c = id();
    await daemon.runDetached(c, ["sleep", "1000"]);
    const fifos = await Fifos.make();
    const out = fifos.read();
    await tasks.exec(c, "x", shell("cat; echo end"), fifos.inOut);
    await tasks.closeStdin(c, "x");
    await tasks.start(c, "x");
    expect(await out.end()).toBe("end\n");
    expect(await tasks.wait(c, "x")).toBe(0);
    await tasks.deleteExec(c, "x");
    await tasks.killAndFinish(c);
    await fifos.remove();
  },
  berthOnly,
);

suite.test("IO-6 /dev/stdin opened anew after CloseIO ends", async ({ tasks, id }) => {
  const c = id();
  const fifos = await Fifos.make();
  const out = fifos.read();
  await start(tasks, c, "read x; echo got $x; usleep 300000; cat /dev/stdin; echo end", fifos.inOut);
  await run(["sh", "-c", 'printf "one\\ntwo\\n" > "$0"', fifos.stdin], { check: true });
  await tasks.closeStdin(c);
  // The shell may read ahead, what is left is the file's.
  expect((await out.end(5000)).replace("two\n", "")).toBe("got one\nend\n");
  await tasks.finish(c);
  await fifos.remove();
});

suite.test("IO-6 nobody else can stop a container by writing into a stdin it does not have", async ({ tasks, id }) => {
  const c = id();
  await start(tasks, c, "cat; exit 3", {});
  expect(await tasks.wait(c)).toBe(3);
  await tasks.closeStdin(c);
  await tasks.finish(c);
});

suite.test("IO-8 a user other than root writes to /dev/stdout and /dev/stderr", async ({ daemon, tasks, id }) => {
  const script = "id -u; echo out > /dev/stdout; echo err > /dev/stderr";
  const user = { uid: 1000, gid: 1000 };
  const fifos = await Fifos.make();
  const log = join(fifos.dir, "log");
  for (const io of [fifos.out, { stdout: `file://${log}` }]) {
    const c = id();
    const reader = fifos.read();
    const spec = await writeSpec(daemon, c, ["sh", "-c", script], (spec) => {
      spec.process.user = user;
    });
    await tasks.createContainer(c, "", [], runtime, ["--config", spec]);
    await tasks.createTask(c, { ...io, stderr: io.stdout ?? "" }, { rootfs: [] });
    await tasks.start(c);
    expect(await tasks.finish(c)).toBe(0);
    if (io.stdout === fifos.stdout) expect(await reader.end()).toBe("1000\nout\nerr\n");
    else expect(readFileSync(log, "utf8").split("\n").toSorted()).toEqual(["", "1000", "err", "out"]);
  }
  const e = id();
  await daemon.runDetached(e, ["sleep", "1000"]);
  expect(await daemon.exec(e, ["sh", "-c", script], ["--user", "1000:1000"])).toMatchObject({
    exitCode: 0,
    stdout: "1000\nout\n",
    stderr: "err\n",
  });
  await tasks.killAndFinish(e);
  await fifos.remove();
});

suite.test("IO-8 io_uid and io_gid own the streams of the container", async ({ tasks, id }) => {
  const c = id();
  const fifos = await Fifos.make();
  const log = join(fifos.dir, "log");
  const options = runcOptions({ ioUid: 1234, ioGid: 5678 });
  fifos.read();
  await tasks.createContainer(c, imageName, ["sleep", "1000"], runtime);
  const pid = await tasks.createTask(c, { ...fifos.inOut, stderr: `file://${log}` }, { options });
  for (const fd of [0, 1, 2]) {
    // runc gives the streams to the process's user, and leaves their group; crun gives them to both.
    const { uid, gid } = statSync(`/proc/${pid}/fd/${fd}`);
    expect({ fd, uid, gid }).toEqual({ fd, uid: 0, gid: isCrun ? 0 : 5678 });
  }
  expect(statSync(log).uid).toBe(0);
  await tasks.killAndFinish(c);
  await fifos.remove();
});

suite.test(
  "R16 IO-5 an exec whose child holds the pipe: exit at once, Delete within its limit, nothing left open",
  async ({ daemon, events, tasks, id }) => {
    const c = id();
    await daemon.runDetached(c, ["sleep", "1000"]);
    const shim = findShim(daemon.namespace, c)?.pid ?? 0;
    const before = openFiles(shim);
    const [held, stuck, screen, full] = [
      await Fifos.make(),
      await Fifos.make(),
      await Fifos.make(),
      await Fifos.make(),
    ];
    const heldReader = held.read();
    const stuckReader = stuck.read();
    const screenReader = screen.read();
    await tasks.exec(c, "held", shell("sleep 500 & echo started"), held.out);
    await tasks.exec(c, "stuck", shell("exec cat /dev/zero"), stuck.out);
    await tasks.exec(c, "screen", shell("exec cat /dev/zero"), { ...screen.inOut, terminal: true });
    await tasks.exec(c, "full", shell("sleep 500 <&0 & exit 0"), { stdin: full.stdin });
    let begun = performance.now();
    await tasks.start(c, "held");
    expect(await tasks.wait(c, "held")).toBe(0);
    await events.wait(c, "exit");
    expect(performance.now() - begun).toBeLessThan(2000);
    // The others' readers do not read: what is in the pipes is cut off at the limit too.
    for (const [execId, reader] of [["stuck", stuckReader] as const, ["screen", screenReader] as const]) {
      await tasks.start(c, execId);
      reader.signal("SIGSTOP");
      await Bun.sleep(200);
      await tasks.kill(c, 9, { execId });
      expect(await tasks.wait(c, execId)).toBe(137);
    }
    // A child holds the input, does not read it, and there is more than fits.
    await tasks.start(c, "full");
    const feeder = Bun.spawn(["sh", "-c", 'head -c 300000 /dev/zero > "$0"', full.stdin]);
    await Bun.sleep(200);
    expect(await tasks.wait(c, "full")).toBe(0);
    begun = performance.now();
    await Promise.all(["held", "stuck", "screen", "full"].map((execId) => tasks.deleteExec(c, execId)));
    expect(performance.now() - begun).toBeLessThan(12_000);
    expect(await heldReader.end()).toBe("started\n");
    feeder.kill("SIGKILL");
    await feeder.exited;
    for (const reader of [stuckReader, screenReader]) reader.signal("SIGCONT");
    for (const reader of [stuckReader, screenReader]) expect((await reader.end()).length).toBeGreaterThan(0);
    await expectClosed(shim, before);
    // The shim is well, and the ids are free.
    await tasks.exec(c, "held", shell("exit 9"));
    await tasks.start(c, "held");
    expect(await tasks.wait(c, "held")).toBe(9);
    await tasks.deleteExec(c, "held");
    await tasks.killAndFinish(c);
    for (const fifos of [held, stuck, screen, full]) await fifos.remove();
  },
  { timeout: 60_000 },
);

const long = process.env["BERTH_LONG"] ? undefined : "takes minutes, test/long/stdio.test.ts has 200: set BERTH_LONG=1";
suite.test(
  "R17 the output of 1000 containers of one moment is never lost",
  async (context) => {
    const { daemon } = context;
    const left = Array.from({ length: 1000 }, () => context.id());
    const lost: string[] = [];
    const worker = async (): Promise<void> => {
      for (let c = left.pop(); c !== undefined; c = left.pop()) {
        const result = await daemon.run(c, ["echo", `this is ${c}`]);
        if (result.exitCode !== 0 || result.stdout !== `this is ${c}\n`) {
          lost.push(`${c}: exit ${result.exitCode}, ${JSON.stringify(result.stdout)} ${result.stderr}`);
        }
      }
    };
    await Promise.all([worker(), worker(), worker()]);
    expect(lost).toEqual([]);
  },
  { timeout: 600_000, skip: long },
);

const execs = process.env["BERTH_LONG"] ? 1000 : 100;
suite.test(
  `R17 the output of ${execs} execs of one moment is never lost (BERTH_LONG=1: 1000)`,
  async ({ daemon, tasks, id }) => {
    const c = id();
    await daemon.runDetached(c, ["sleep", "1000"]);
    const shim = findShim(daemon.namespace, c)?.pid ?? 0;
    const before = openFiles(shim);
    const lost: string[] = [];
    let left = execs;
    const worker = async (): Promise<void> => {
      const fifos = await Fifos.make();
      while (left > 0) {
        const n = left--;
        const reader = fifos.read();
        await tasks.exec(c, `e${n}`, shell(`echo ${n}; exit 7`), fifos.out);
        await tasks.start(c, `e${n}`);
        const status = await tasks.wait(c, `e${n}`);
        await tasks.deleteExec(c, `e${n}`);
        const text = await reader.end();
        if (status !== 7 || text !== `${n}\n`) lost.push(`${n}: status ${status}, ${JSON.stringify(text)}`);
      }
      await fifos.remove();
    };
    await Promise.all([worker(), worker(), worker()]);
    expect(lost).toEqual([]);
    await expectClosed(shim, before);
    await tasks.killAndFinish(c);
  },
  { timeout: 300_000 },
);

suite.test(
  "R18 PR-8 nobody reads the shim's log: the shim goes on, and says how many lines were lost",
  async ({ daemon, tasks, id }) => {
    const c = id();
    await daemon.runDetached(c, ["sleep", "1000"]);
    const shim = findShim(daemon.namespace, c)?.pid ?? 0;
    await daemon.kill();
    // Signals that come at once are one; each of these is a line of half a kilobyte, and a FIFO holds 64.
    for (let i = 0; i < 400; i++) {
      process.kill(shim, "SIGUSR1");
      await Bun.sleep(2);
    }
    await daemon.start();
    expect(await tasks.get(c)).toMatchObject({ status: "RUNNING" });
    await waitFor("the shim's lines", () => daemon.log().includes("state: "));
    process.kill(shim, "SIGUSR1");
    await waitFor("the count of lost lines", () => /\d+ log lines were dropped/.test(daemon.log()));
    await tasks.killAndFinish(c);
  },
  berthOnly,
);
