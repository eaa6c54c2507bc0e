/** Logs that the shim writes, read while the daemon is there and while it is not (R15, R17, R28). */

import { expect } from "bun:test";
import { readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { LogReader } from "../../supervisor/logs/reader.ts";
import { testsBerth } from "../lib/paths.ts";
import { containerSuite, type TestContext } from "../lib/suite.ts";
import { waitFor } from "../lib/wait.ts";

const berthOnly = { skip: testsBerth ? undefined : "berth's own promise" };
const containerd = containerSuite();

/** What is in a log, and what of it came from stderr. */
async function logged(path: string): Promise<{ all: string; stderr: string }> {
  const text = { all: "", stderr: "" };
  for await (const entries of new LogReader(path).read()) {
    for (const entry of entries) {
      text.all += Buffer.from(entry.text).toString();
      if (entry.stream === "stderr") text.stderr += Buffer.from(entry.text).toString();
    }
  }
  return text;
}

const numbers = (text: string) => text.split("\n").filter(Boolean).map(Number);
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);

for (const format of ["json", "cri", "raw"]) {
  containerd.test(
    `R28: ctr run --log-uri with limits keeps the newest lines whole, in so many files: ${format}`,
    async ({ daemon, tasks, id }) => {
      const c = id();
      const path = join(daemon.dir, `logs-${c}`, "c.log");
      const script = "i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done; echo last >&2";
      const uri = `file://${path}?format=${format}&max-size=4k&max-file=3`;
      await daemon.runDetached(c, ["sh", "-c", script], ["--log-uri", uri]);
      expect(await tasks.finish(c)).toBe(0);
      const files = readdirSync(dirname(path)).toSorted();
      expect(files).toEqual(["c.log", "c.log.1", "c.log.2"]);
      for (const file of files) expect(statSync(join(dirname(path), file)).size).toBeLessThanOrEqual(4096 + 16);
      const { all, stderr } = await logged(path);
      expect(stderr).toBe(format === "raw" ? "" : "last\n");
      const kept = numbers(all.replace("last\n", ""));
      expect(kept.length).toBeGreaterThan(50);
      expect(kept).toEqual(upTo(2000).slice(2000 - kept.length));
    },
    berthOnly,
  );
}

containerd.test(
  "R28: a setting that does not exist is refused with its name",
  async ({ daemon, id }) => {
    const uri = `file://${join(daemon.dir, "never.log")}?maxsize=1m`;
    const result = await daemon.run(id(), ["true"], ["-d", "--log-uri", uri]);
    expect(result.exitCode).not.toBe(0);
    expect(result.stderr).toContain('unknown setting "maxsize"');
  },
  berthOnly,
);

/** Each line of a counter, while the daemon is stopped, killed and started. */
async function outage({ daemon, tasks, id }: TestContext): Promise<void> {
  const c = id();
  const path = join(daemon.dir, `logs-${c}`, "c.log");
  const script = "i=0; while :; do echo $i; i=$((i+1)); usleep 5000; done";
  const uri = `file://${path}?format=json&max-size=16k&max-file=100`;
  await daemon.runDetached(c, ["sh", "-c", script], ["--log-uri", uri]);
  const lines = async () => numbers((await logged(path)).all).length;
  const grows = async (what: string) => {
    const before = await lines();
    await waitFor(what, async () => (await lines()) > before + 50, { timeout: 20_000 });
  };
  await grows("output");
  await daemon.stop();
  await grows("output while the daemon is stopped");
  await daemon.start();
  await grows("output after its start");
  await daemon.kill();
  await grows("output while the daemon is dead");
  await daemon.start();
  await grows("output after its second start");
  await tasks.killAndFinish(c);
  const seen = numbers((await logged(path)).all);
  expect(seen).toEqual(upTo(seen.length));
}

containerd.test("R15 R28: the log of a container goes on while the daemon is stopped, killed and replaced", outage, {
  ...berthOnly,
  timeout: 60_000,
});

const many = process.env["BERTH_LONG"] === "1" ? 1000 : 30;
containerd.test(
  `R17: the output of ${many} containers of one moment is in their log (BERTH_LONG=1: 1000)`,
  async (context) => {
    const { daemon, tasks } = context;
    const path = join(daemon.dir, "many", "c.log");
    const left = Array.from({ length: many }, () => context.id());
    const expected = left.map((c) => `this is ${c}`).toSorted();
    const worker = async (): Promise<void> => {
      for (let c = left.pop(); c !== undefined; c = left.pop()) {
        await daemon.runDetached(c, ["echo", `this is ${c}`], ["--log-uri", `file://${path}?format=cri`]);
        await tasks.finish(c);
      }
    };
    await Promise.all([worker(), worker(), worker()]);
    expect((await logged(path)).all.trimEnd().split("\n").toSorted()).toEqual(expected);
  },
  { ...berthOnly, timeout: many * 1000 + 60_000 },
);
