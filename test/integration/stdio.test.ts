/** Standard input and output of containers and execs, through ctr's FIFOs (contract 1.12). */

import { expect } from "bun:test";
import type { Daemon } from "../lib/daemon.ts";
import { containerSuite } from "../lib/suite.ts";
import type { Tasks } from "../lib/tasks.ts";
import { waitFor } from "../lib/wait.ts";

const suite = containerSuite();

async function running(tasks: Tasks, id: string, execId?: string): Promise<void> {
  await waitFor("the process to run", async () => (await tasks.get(id, execId)).status === "RUNNING");
}

suite.test("IO-1 stdout and stderr stay apart", async ({ daemon, id }) => {
  const result = await daemon.run(id(), ["sh", "-c", "echo out; echo err >&2; echo more"]);
  expect(result).toMatchObject({ exitCode: 0, stdout: "out\nmore\n", stderr: "err\n" });
});

suite.test("IO-1 without stdio the container sees /dev/null", async ({ daemon, tasks, id }) => {
  const c = id();
  await daemon.runDetached(c, ["sh", "-c", "cat; echo lost; echo lost >&2; exit 12"]);
  expect(await tasks.finish(c)).toBe(12);
});

suite.test("IO-6 what is piped into ctr run reaches the container, and its end too", async ({ daemon, tasks, id }) => {
  const c = id();
  const result = await daemon.run(c, ["cat"], ["--rm"], { stdin: "hi\n", holdStdin: () => running(tasks, c) });
  expect(result).toMatchObject({ exitCode: 0, stdout: "hi\n", timedOut: false });
});

suite.test("IO-6 an exec reads its own stdin to the end", async ({ daemon, tasks, id }) => {
  const c = id();
  await daemon.runDetached(c, ["sleep", "1000"]);
  const result = await daemon.exec(c, ["wc", "-c"], ["--exec-id", "x"], {
    stdin: "x".repeat(100_000),
    holdStdin: () => running(tasks, c, "x"),
  });
  expect(result).toMatchObject({ exitCode: 0, timedOut: false });
  expect(result.stdout.trim()).toBe("100000");
  await tasks.killAndFinish(c);
});

suite.test("IO-6 a megabyte in, the same megabyte out", async ({ daemon, tasks, id }) => {
  const c = id();
  const text = Array.from({ length: 100_000 }, (_, i) => String(i).padStart(9, "0")).join("\n");
  const result = await daemon.run(c, ["cat"], ["--rm"], { stdin: text, holdStdin: () => running(tasks, c) });
  expect(result.stdout === text).toBe(true);
});

/** Runs a container and hashes its output without keeping it. */
async function hashOutput(
  daemon: Daemon,
  id: string,
  command: string[],
): Promise<{ bytes: number; sha256: string; stderr: string }> {
  const child = Bun.spawn(daemon.ctrCommand(daemon.runArguments(id, command, ["--rm"])), {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    env: daemon.ctrEnv(),
  });
  const hasher = new Bun.CryptoHasher("sha256");
  let bytes = 0;
  const read = async (): Promise<void> => {
    for await (const chunk of child.stdout) {
      bytes += chunk.length;
      hasher.update(chunk);
    }
  };
  const [stderr] = await Promise.all([new Response(child.stderr).text(), read()]);
  expect(await child.exited).toBe(0);
  return { bytes, sha256: hasher.digest("hex"), stderr };
}

suite.test(
  "IO-5 50 MB of output arrive unchanged",
  async ({ daemon, id }) => {
    const script = "head -c 50000000 /dev/urandom > /tmp/x; sha256sum /tmp/x >&2; cat /tmp/x";
    const seen = await hashOutput(daemon, id(), ["sh", "-c", script]);
    expect(seen.bytes).toBe(50_000_000);
    expect(seen.stderr).toStartWith(seen.sha256);
  },
  { timeout: 90_000 },
);

suite.test(
  "R17 the output of short execs is never lost",
  async ({ daemon, tasks, id }) => {
    const c = id();
    await daemon.runDetached(c, ["sleep", "1000"]);
    for (let i = 0; i < 30; i++) {
      const result = await daemon.exec(c, ["sh", "-c", `echo out ${i}; echo err ${i} >&2`]);
      expect(result).toMatchObject({ exitCode: 0, stdout: `out ${i}\n`, stderr: `err ${i}\n` });
    }
    await tasks.killAndFinish(c);
  },
  { timeout: 60_000 },
);

suite.test(
  "R16 IO-5 an exec whose background child holds the output still ends",
  async ({ daemon, tasks, id }) => {
    const c = id();
    await daemon.runDetached(c, ["sleep", "1000"]);
    const result = await daemon.exec(c, ["sh", "-c", "sleep 500 & echo started"], [], { timeout: 25_000 });
    expect(result).toMatchObject({ exitCode: 0, stdout: "started\n", timedOut: false });
    await tasks.killAndFinish(c);
  },
  { timeout: 60_000 },
);

suite.test("IO-2 a client that goes away does not disturb the container", async ({ daemon, tasks, id }) => {
  const c = id();
  const script = "i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); sleep 0.01; done; exit 21";
  const client = Bun.spawn(daemon.ctrCommand(daemon.runArguments(c, ["sh", "-c", script], [])), {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "ignore",
    env: daemon.ctrEnv(),
  });
  const reader = client.stdout.getReader();
  await reader.read();
  client.kill("SIGKILL");
  await client.exited;
  await reader.cancel();
  expect(await tasks.wait(c)).toBe(21);
  // With the client its FIFO directory lost its owner: ctr tasks delete takes it along.
  await daemon.ctr(["tasks", "delete", c]);
  await tasks.removeContainer(c);
});

suite.test("IO-7 ctr run -t gives the container a terminal of its own, and its last word", async ({ daemon, id }) => {
  const script =
    'test -t 0 && test -t 1 && tty && until s=$(stty size) && test -n "$s"; do sleep 0.05; done 2>/dev/null; echo $s; exit 8';
  const arguments_ = daemon.runArguments(id(), ["sh", "-c", script], ["--rm", "-t"]);
  let output = "";
  const client = Bun.spawn(daemon.ctrCommand(arguments_), {
    env: daemon.ctrEnv(),
    terminal: { rows: 31, cols: 97, data: (_, bytes) => (output += new TextDecoder().decode(bytes)) },
  });
  expect(await client.exited).toBe(8);
  await waitFor("the last word", () => output.includes("31 97"), { timeout: 1000 }).catch(() => {});
  client.terminal?.close();
  expect(output.replaceAll("\r", "")).toBe("/dev/pts/0\n31 97\n");
});

suite.test("IO-1 file:// appends both streams to one file", async ({ daemon, tasks, id }) => {
  const c = id();
  const path = `${daemon.dir}/log-${c}/nested/out.log`;
  await daemon.runDetached(c, ["sh", "-c", "echo out; echo err >&2"], ["--log-uri", `file://${path}`]);
  await tasks.finish(c);
  const text = await waitFor("the log file to be whole", async () => {
    const content = await Bun.file(path).text();
    return content.length >= 8 ? content : undefined;
  });
  expect(text.split("\n").toSorted()).toEqual(["", "err", "out"]);
});
