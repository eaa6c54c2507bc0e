/** stdio of every kind (contract 1.12): FIFOs, files, consoles, slow and vanished readers. */

import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { equal, holds, matches, refused } from "../assert.ts";
import type { Section } from "../check.ts";
import type { Context, Shim } from "../rig/context.ts";
import { FifoReader, FifoWriter } from "../rig/fifo.ts";
import { findMounts } from "../rig/machine.ts";
import { until } from "../rig/wait.ts";

const io = "cmd/containerd-shim-runc-v2/process/io.go";
const platform = "cmd/containerd-shim-runc-v2/runc/platform.go";

/** What is in a file that the shim is to write; undefined when there is none. */
function textOf(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, "utf8") : undefined;
}

/** A Create with FIFOs that nobody reads. @returns what it was refused with @throws Violation when it does not end */
async function unreadCreate(t: Context, shim: Shim): Promise<Error | undefined> {
  const created = shim.create({ stdout: t.fifo("out"), stderr: t.fifo("err") }).then(
    () => undefined,
    (error: Error) => error,
  );
  const ended = await Promise.race([created, Bun.sleep(40_000).then(() => "late" as const)]);
  holds("Create to end within 40 s", ended !== "late", "no answer");
  return ended;
}

export const stdio: Section = {
  name: "stdio",
  checks: [
    {
      id: "IO-1.fifo",
      level: "must",
      title: "stdout and stderr come apart, each into its FIFO.",
      source: io,
      body: async (t) => {
        const [stdout, stderr] = [t.reader("out"), t.reader("err")];
        const args = t.script("echo out; echo err >&2");
        const shim = await t.run({ args }, { stdout: stdout.path, stderr: stderr.path });
        await shim.task.wait(shim.id);
        await shim.task.delete(shim.id);
        equal("stdout", await stdout.end(), "out\n");
        equal("stderr", await stderr.end(), "err\n");
      },
    },
    {
      id: "IO-1.null",
      level: "must",
      title: "Without stdio, init reads nothing and may write as much as it likes.",
      source: io,
      body: async (t) => {
        const shim = await t.run({ args: t.ending("cat; seq 20000; seq 20000 >&2; exit 5") });
        equal("the exit status", (await shim.task.wait(shim.id)).exitStatus, 5);
      },
    },
    {
      id: "IO-1.stdout-alone",
      level: "should",
      title: "stdout may be given without stderr.",
      source: "api/runtime/task/v2/shim.proto (CreateTaskRequest)",
      body: async (t) => {
        const stdout = t.reader("out");
        const shim = await t.run({ args: t.script("echo out; echo err >&2") }, { stdout: stdout.path });
        await shim.task.wait(shim.id);
        equal("stdout", await stdout.end(), "out\n");
      },
    },
    {
      id: "IO-1.same",
      level: "must",
      title: "stdout and stderr may be the same FIFO.",
      source: io,
      body: async (t) => {
        const both = t.reader("both");
        const args = t.script("echo out; echo err >&2");
        const shim = await t.run({ args }, { stdout: both.path, stderr: both.path });
        await shim.task.wait(shim.id);
        equal("the lines of both", (await both.end()).trim().split("\n").sort(), ["err", "out"]);
      },
    },
    {
      id: "IO-1.file",
      level: "must",
      title: "file:// appends to a file, which is made with its directories.",
      source: `${io} (file)`,
      body: async (t) => {
        const path = join(t.dir, "logs", "deep", "out.log");
        const uri = `file://${path}`;
        for (const word of ["first", "second"]) {
          const shim = await t.run({ args: ["echo", word] }, { stdout: uri, stderr: uri });
          await shim.task.wait(shim.id);
          await shim.task.delete(shim.id);
        }
        equal("the file", textOf(path), "first\nsecond\n");
      },
    },
    {
      id: "IO-1.unknown",
      level: "must",
      title: "A scheme that there is none of makes Create fail.",
      source: io,
      body: async (t) => {
        const shim = await t.start(t.bundle());
        await refused("Create", shim.create({ stdout: "nosuch:///x", stderr: "nosuch:///x" }), 2, 3, 12);
        equal("the task_pid of Connect", (await shim.task.connect(shim.id)).taskPid, 0);
      },
    },
    {
      id: "IO-2.missing",
      level: "must",
      title: "A FIFO that is not there makes Create fail or be made, and does not hang it.",
      source: `${io} (fifo.OpenFifo)`,
      limit: 50_000,
      body: async (t) => {
        const shim = await t.start(t.bundle());
        const path = join(t.dir, "no", "such", "fifo");
        const ended = await Promise.race([
          shim.create({ stdout: path, stderr: path }).catch((error: Error) => error),
          Bun.sleep(40_000).then(() => undefined),
        ]);
        holds("Create to end within 40 s", ended !== undefined, "no answer");
        await shim.task.connect(shim.id);
      },
    },
    {
      id: "T-CRE-8.ends",
      level: "must",
      title: "FIFOs that nobody reads do not hold up Create for more than 40 s.",
      source: `${io} (copyPipes); cmd/containerd-shim-runc-v2/process/init.go (30 s)`,
      limit: 60_000,
      body: async (t) => {
        const shim = await t.start(t.bundle());
        const ended = await unreadCreate(t, shim);
        if (ended !== undefined) await refused("Create", Promise.reject(ended), 2, 4, 9, 14);
        await shim.task.connect(shim.id);
      },
    },
    {
      id: "T-CRE-8.clean",
      level: "should",
      title: "After a Create that FIFOs without a reader made fail, the same shim can create the container.",
      source: "contract T-CRE-8",
      limit: 60_000,
      body: async (t) => {
        const shim = await t.start(t.bundle());
        if ((await unreadCreate(t, shim)) === undefined) return t.skip("the shim does not wait for a reader");
        equal("the mounts afterwards", findMounts(shim.bundle.path), []);
        await shim.create();
        await shim.task.start(shim.id);
        equal("the status", (await shim.task.state(shim.id)).status, "RUNNING");
      },
    },
    {
      id: "IO-3.silent",
      level: "must",
      title: "A logger that ends before it is ready makes Create fail.",
      source: `${io} (newBinaryIO)`,
      body: async (t) => {
        const shim = await t.start(t.bundle());
        const uri = "binary:///no/such/logger";
        await refused("Create", shim.create({ stdout: uri, stderr: uri }), 2, 3, 5, 9, 13);
        equal("the task_pid of Connect", (await shim.task.connect(shim.id)).taskPid, 0);
      },
    },
    {
      id: "IO-3.binary",
      level: "must",
      title: "binary:// runs a logger with the output on descriptors 3 and 4, and waits until it is ready.",
      source: `${io} (newBinaryIO)`,
      body: async (t) => {
        const [program, log] = [join(t.dir, "logger"), join(t.dir, "log")];
        const lines = [
          "#!/bin/sh",
          `echo "$CONTAINER_ID $CONTAINER_NAMESPACE $*" >'${log}'`,
          "exec 5>&-",
          `cat <&3 >>'${log}'`,
        ];
        await Bun.write(program, `${lines.join("\n")}\n`);
        Bun.spawnSync(["chmod", "755", program]);
        const uri = `binary://${program}?one=1`;
        const shim = await t.run({ args: ["echo", "said"] }, { stdout: uri, stderr: uri });
        await shim.task.wait(shim.id);
        await shim.task.delete(shim.id);
        const expected = `${shim.id} ${t.namespace} one 1\nsaid\n`;
        await until(`the log to be ${JSON.stringify(expected)}`, () => textOf(log) === expected, {
          received: () => JSON.stringify(textOf(log)),
        });
      },
    },
    {
      id: "IO-5.short",
      level: "must",
      title: "The output of each of 10 processes that end at once has come when Delete returns.",
      source: "containerd#10094",
      body: async (t) => {
        for (let n = 0; n < 10; n++) {
          const stdout = t.reader("out");
          const shim = await t.run({ args: ["echo", `line ${n}`] }, t.outputs(stdout));
          await shim.task.wait(shim.id);
          const deleted = shim.task.delete(shim.id);
          equal("stdout", await stdout.end(), `line ${n}\n`);
          await deleted;
        }
      },
    },
    {
      id: "IO-5.large",
      level: "must",
      title: "Sixteen megabytes come whole.",
      source: io,
      body: async (t) => {
        const stdout = t.reader("out", { keep: false });
        const args = t.script("dd if=/dev/zero bs=65536 count=256 2>/dev/null");
        const shim = await t.run({ args }, t.outputs(stdout));
        await stdout.end(15_000);
        equal("the bytes", stdout.bytes, 16 << 20);
        await shim.task.wait(shim.id);
      },
    },
    {
      id: "IO-5.exec",
      level: "must",
      title: "The output of an exec goes into its own FIFOs, and ends with it.",
      source: "cmd/containerd-shim-runc-v2/process/exec.go",
      body: async (t) => {
        const [own, other] = [t.reader("init"), t.reader("exec")];
        const shim = await t.run({ args: t.script("echo init; exec sleep 100") }, t.outputs(own));
        await shim.exec("e1", ["echo", "exec"], t.outputs(other));
        await shim.task.wait(shim.id, "e1");
        await shim.task.delete(shim.id, "e1");
        equal("stdout of the exec", await other.end(), "exec\n");
        await own.until("init\n");
        equal("stdout of init", own.text, "init\n");
      },
    },
    {
      id: "IO-6.stdin",
      level: "must",
      title: "stdin is passed on, and CloseIO ends it.",
      source: "cmd/containerd-shim-runc-v2/process/init.go (openStdin)",
      body: async (t) => {
        const [stdin, stdout] = [t.fifo("in"), t.reader("out")];
        const args = t.script("cat; echo end; sleep 0.3");
        const shim = await t.create({ args }, { stdin, ...t.outputs(stdout) });
        const writer = await FifoWriter.open(stdin);
        t.defer(() => writer.close());
        await shim.task.start(shim.id);
        writer.write("first\n");
        await stdout.until("first\n");
        await shim.task.closeIO(shim.id);
        writer.close();
        await stdout.until("end\n");
        equal("the exit status", (await shim.task.wait(shim.id)).exitStatus, 0);
      },
    },
    {
      id: "IO-6.drained",
      level: "must",
      title: "What was written into stdin before CloseIO still arrives.",
      source: "cmd/containerd-shim-runc-v2/process/init.go (CloseIO)",
      body: async (t) => {
        const [stdin, stdout] = [t.fifo("in"), t.reader("out")];
        const shim = await t.create({ args: ["cat"] }, { stdin, ...t.outputs(stdout) });
        const writer = await FifoWriter.open(stdin);
        t.defer(() => writer.close());
        const text = "0123456789abcdef\n".repeat(1000);
        writer.write(text);
        await shim.task.start(shim.id);
        await shim.task.closeIO(shim.id);
        writer.close();
        await shim.task.wait(shim.id);
        equal("the number of bytes", (await stdout.end()).length, text.length);
      },
    },
    {
      id: "IO-6.reopen",
      level: "must",
      title: "A client that closes stdin and opens it again, as after a restart of containerd, does not end it.",
      source: "integration/client (TestDaemonReconnectsToShimIOPipesOnRestart)",
      body: async (t) => {
        const [stdin, stdout] = [t.fifo("in"), t.reader("out")];
        const shim = await t.create({ args: ["cat"] }, { stdin, ...t.outputs(stdout) });
        const first = await FifoWriter.open(stdin);
        await shim.task.start(shim.id);
        first.write("first\n");
        await stdout.until("first\n");
        first.close();
        // Longer than the shim takes to see that nobody writes.
        await Bun.sleep(400);
        const second = await FifoWriter.open(stdin);
        t.defer(() => second.close());
        second.write("second\n");
        await stdout.until("second\n");
        equal("the status", (await shim.task.state(shim.id)).status, "RUNNING");
      },
    },
    {
      id: "IO-2.vanished",
      level: "must",
      title: "A reader that goes away does not kill the process; one that comes later reads on.",
      source: `${io} (both ends are open)`,
      body: async (t) => {
        const stdout = t.reader("out");
        const args = t.script("n=0; while :; do n=$((n+1)); echo line $n; sleep 0.02; done");
        const shim = await t.run({ args }, t.outputs(stdout));
        await stdout.until("line 2\n");
        stdout.close();
        await Bun.sleep(200);
        equal("the status", (await shim.task.state(shim.id)).status, "RUNNING");
        const later = new FifoReader(stdout.path);
        t.defer(() => later.close());
        await later.until("\nline ");
      },
    },
    {
      id: "IO-4.slow",
      level: "must",
      title: "A reader that does not read holds up its own container alone: calls are answered.",
      source: "contract PR-7",
      body: async (t) => {
        const stdout = t.reader("out", { eager: false });
        const shim = await t.run({ args: ["yes"] }, t.outputs(stdout));
        await Bun.sleep(300);
        const begun = performance.now();
        equal("the status", (await shim.task.state(shim.id)).status, "RUNNING");
        const ms = performance.now() - begun;
        holds("State to be answered within 2 s", ms < 2000, `${Math.round(ms)} ms`);
        equal("the exit status", (await shim.kill()).exitStatus, 137);
      },
    },
    {
      id: "IO-8",
      level: "must",
      title: "stdout and stderr of a process belong to the user and the group of Options.io_uid and io_gid.",
      source: "cmd/containerd-shim-runc-v2/process/init.go (IoUID); moby daemon (userns-remap)",
      body: async (t) => {
        const [stdout, stderr] = [t.reader("out"), t.reader("err")];
        const options = t.options({ ioUid: 1000, ioGid: 1000 });
        const shim = await t.run({ user: 1000 }, { stdout: stdout.path, stderr: stderr.path }, { options });
        const { pid } = await shim.task.state(shim.id);
        // runc itself gives them to the process's user, and leaves the group as it is.
        const owners = [1, 2].map((fd) => statSync(`/proc/${pid}/fd/${fd}`)).map(({ uid, gid }) => [uid, gid]);
        equal("user and group of both", owners, [
          [1000, 1000],
          [1000, 1000],
        ]);
      },
    },
    {
      id: "IO-7.console",
      level: "must",
      title: "With a terminal, init has a console, whose output comes through stdout.",
      source: platform,
      body: async (t) => {
        const [stdin, stdout] = [t.fifo("in"), t.reader("out")];
        const args = t.script(
          "test -t 0 && test -t 1 && test -t 2 && echo console; read line; echo got $line; sleep 0.3; exit 3",
        );
        const shim = await t.create({ args, terminal: true }, { stdin, stdout: stdout.path });
        const writer = await FifoWriter.open(stdin);
        t.defer(() => writer.close());
        await shim.task.start(shim.id);
        await stdout.until("console\r\n");
        writer.write("hello\n");
        await stdout.until("got hello\r\n");
        equal("the exit status", (await shim.task.wait(shim.id)).exitStatus, 3);
      },
    },
    {
      id: "IO-7.resize",
      level: "must",
      title: "ResizePty sets the size of the console, and the process is told.",
      source: platform,
      body: async (t) => {
        const stdout = t.reader("out");
        const args = t.script("trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done");
        const shim = await t.create({ args, terminal: true }, { stdout: stdout.path });
        await shim.task.start(shim.id);
        await stdout.until("ready");
        await shim.task.resizePty(shim.id, 132, 43);
        await stdout.until("43 132");
      },
    },
    {
      id: "IO-7.exec-console",
      level: "must",
      title: "An exec may have a console of its own, with a size of its own.",
      source: platform,
      body: async (t) => {
        const stdout = t.reader("out");
        const shim = await t.run();
        const args = t.script("test -t 1 && echo console; sleep 0.3; stty size");
        const spec = { ...t.process(...args), terminal: true };
        await shim.task.exec(shim.id, "e1", spec, { terminal: true, stdout: stdout.path });
        await shim.task.start(shim.id, "e1");
        await shim.task.resizePty(shim.id, 99, 33, "e1");
        await stdout.until("console");
        await stdout.until("33 99");
      },
    },
    {
      id: "IO-7.last-line",
      level: "must",
      title: "The last line on a console of a process that ends at once is not lost.",
      source: platform,
      body: async (t) => {
        for (let n = 0; n < 5; n++) {
          const stdout = t.reader("out");
          const shim = await t.run({ args: ["echo", `line ${n}`], terminal: true }, { stdout: stdout.path });
          await shim.task.wait(shim.id);
          const deleted = shim.task.delete(shim.id);
          matches("stdout", await stdout.end(), new RegExp(`^line ${n}\r\n$`));
          await deleted;
        }
      },
    },
  ],
};
