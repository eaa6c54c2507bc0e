/** Health checks by berthd: what they say, what they do, and that they leave nothing behind (R30). */

import { expect } from "bun:test";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { GrpcClient } from "../../supervisor/client/grpc.ts";
import { Berthd } from "../lib/berthd.ts";
import type { Daemon } from "../lib/daemon.ts";
import { outcome } from "../lib/outcome.ts";
import { findShim } from "../lib/process.ts";
import { containerSuite, type TestContext } from "../lib/suite.ts";
import { waitFor } from "../lib/wait.ts";

const suite = containerSuite({}, (dir, namespace, options) => new Berthd(dir, namespace, options));
const LONG = { timeout: 90_000 };

type Labels = Record<string, string>;

function health(test: string, more: object = {}): Labels {
  return { "berth/health": JSON.stringify({ test: ["CMD-SHELL", test], interval: 150, retries: 2, ...more }) };
}

async function run({ daemon }: TestContext, id: string, labels: Labels, command = ["sleep", "1000"]): Promise<void> {
  const flags = Object.entries(labels).flatMap(([name, value]) => ["--label", `${name}=${value}`]);
  await daemon.runDetached(id, command, ["--null-io", ...flags]);
}

async function labelsOf(daemon: Daemon, id: string): Promise<Labels> {
  const { stdout } = await daemon.ctr(["containers", "info", id], { check: true });
  return (JSON.parse(stdout) as { Labels?: Labels }).Labels ?? {};
}

const becomes = ({ daemon }: TestContext, id: string, status: string) =>
  waitFor(`${id} to be ${status}`, async () => (await labelsOf(daemon, id))["berth/health.status"] === status, LONG);

/** Asks the service of health checks. */
async function ask({ daemon }: TestContext, method: "Get" | "Run", containerId: string) {
  const api = new GrpcClient(daemon.address);
  try {
    return await api.call(
      "berth.v1.Health",
      method,
      { containerId },
      { namespace: daemon.namespace, deadlineMs: 20_000 },
    );
  } finally {
    api.close();
  }
}

suite.test("R30: a check says how a container is, in its label, by an event and by the API", async (context) => {
  const { daemon, tasks } = context;
  const id = context.id();
  await run(context, id, health("echo in $PWD; test -e /tmp/well"));
  await becomes(context, id, "unhealthy");
  expect(await daemon.exec(id, ["touch", "/tmp/well"])).toMatchObject({ exitCode: 0 });
  await becomes(context, id, "healthy");
  const { status, failingStreak, results } = await ask(context, "Get", id);
  expect([status, failingStreak]).toEqual(["healthy", 0]);
  expect(results.at(-1)).toMatchObject({ exitCode: 0, result: "success", output: "in /\n" });
  expect(results.length).toBeLessThanOrEqual(5);
  expect(await daemon.exec(id, ["rm", "/tmp/well"])).toMatchObject({ exitCode: 0 });
  expect((await ask(context, "Run", id)).results.at(-1)).toMatchObject({ exitCode: 1, result: "failure" });
  await becomes(context, id, "unhealthy");
  await tasks.killAndFinish(id);
});

suite.test("R30: a check that hangs is ended with what it started, one that floods is cut", async (context) => {
  const { daemon, tasks } = context;
  const [hangs, floods, misses] = [context.id(), context.id(), context.id()];
  await run(context, hangs, health("sleep 987 & sleep 987", { timeout: 300, retries: 1 }));
  await run(context, floods, health("yes | head -c 1000000; echo the end", { timeout: 20_000 }));
  await run(context, misses, { "berth/health": '{"test":["CMD","no-such"],"interval":150,"retries":1}' });
  await Promise.all([becomes(context, hangs, "unhealthy"), becomes(context, floods, "healthy")]);
  await becomes(context, misses, "unhealthy");
  expect((await ask(context, "Get", hangs)).results.at(-1)).toMatchObject({ exitCode: -1, result: "timeout" });
  const flood = (await ask(context, "Get", floods)).results.at(-1)?.output ?? "";
  expect(flood).toStartWith("…");
  expect(flood).toEndWith("y\nthe end\n");
  expect(Buffer.byteLength(flood)).toBeLessThan(5_000);
  expect((await ask(context, "Get", misses)).results.at(-1)?.output).toContain("no-such");
  // Between two checks nothing of them is there.
  await daemon.ctr(["containers", "label", hangs, "berth/health="], { check: true });
  await waitFor(
    "the last check to be gone",
    async () => {
      const { stdout } = await daemon.ctr(["tasks", "ps", hangs], { check: true });
      return stdout.trim().split("\n").length === 2;
    },
    LONG,
  );
  for (const id of [hangs, floods, misses]) await tasks.killAndFinish(id);
});

suite.test("R30: an unhealthy container is restarted, stopped or killed as its label says", async (context) => {
  const { daemon, events, tasks } = context;
  const [restarts, stops, kills] = [context.id(), context.id(), context.id()];
  const restart = { "containerd.io/restart.status": "running", "containerd.io/restart.policy": "unless-stopped" };
  // The second life is well: the snapshot remembers the first.
  const command = [
    "sh",
    "-c",
    "test -e /lived && touch /well; touch /lived; trap 'exit 0' TERM; while :; do sleep 0.1; done",
  ];
  const polite = { "berth/stop-timeout": "5000" };
  await run(context, restarts, { ...health("test -e /well", { action: "restart" }), ...polite }, command);
  await run(context, stops, { ...health("false", { action: "stop" }), ...restart, ...polite }, command);
  await run(context, kills, { ...health("false", { action: "kill" }) }, command);
  await events.wait(restarts, "start", 2);
  await becomes(context, restarts, "healthy");
  // Its checks end, too.
  const end = (id: string) =>
    waitFor(`the end of ${id}`, () =>
      events.of(id).find(({ topic, body }) => topic === "/tasks/exit" && body["id"] === id),
    );
  expect((await end(stops)).body["exit_status"] ?? 0).toBe(0);
  expect(await end(kills)).toMatchObject({ body: { exit_status: 137 } });
  expect(await labelsOf(daemon, stops)).toMatchObject({
    "containerd.io/restart.status": "stopped",
    "containerd.io/restart.explicitly-stopped": "true",
  });
  expect(daemon.log()).toContain("it is unhealthy: its check fails with status 1");
  await tasks.killAndFinish(restarts);
  for (const id of [stops, kills]) await tasks.finish(id);
});

suite.test("R30: checks go on after the daemon's death, and what was known is known", async (context) => {
  const { daemon, events, tasks } = context;
  const id = context.id();
  await run(context, id, health("true", { start_period: 60_000, start_interval: 150 }));
  await becomes(context, id, "healthy");
  await daemon.kill();
  await daemon.start();
  await events.start();
  await waitFor("checks", async () => (await ask(context, "Get", id)).results.length > 0, LONG);
  expect((await ask(context, "Get", id)).status).toBe("healthy");
  await tasks.killAndFinish(id);
});

suite.test("a container without a check has no health, and a wrong label is told", async (context) => {
  const { daemon, tasks } = context;
  const [none, wrong] = [context.id(), context.id()];
  await run(context, none, {});
  await run(context, wrong, { "berth/health": '{"test":"true"}' });
  expect(await outcome(ask(context, "Get", none))).toThrow("has no health check");
  expect(await outcome(ask(context, "Get", wrong))).toThrow("no list of words");
  expect(await outcome(ask(context, "Get", "missing"))).toThrow("not found");
  expect(daemon.log()).toContain("label berth/health is ignored");
  for (const id of [none, wrong]) await tasks.killAndFinish(id);
});

suite.test("R30: checks leave no file, descriptor, process or write behind", async (context) => {
  const { daemon, tasks } = context;
  const id = context.id();
  await run(context, id, health("echo well", { interval: 100 }));
  await becomes(context, id, "healthy");
  const shim = findShim(daemon.namespace, id)?.pid ?? 0;
  const look = () => ({
    daemon: readdirSync(`/proc/${daemon.pid}/fd`).length,
    shim: readdirSync(`/proc/${shim}/fd`).length,
    bundle: readdirSync(daemon.bundle(id)).toSorted(),
    work: readdirSync(daemon.bundle(id).replace(daemon.state, daemon.root)).length,
    database: statSync(join(daemon.root, "berth.db-wal"), { throwIfNoEntry: false })?.mtimeMs,
  });
  const checks = async (): Promise<number> => {
    const answer = await fetch("http://b/v1/metrics", { unix: join(daemon.state, "debug.sock"), keepalive: false });
    return Number(/berth_health_checks_total\{result="success"\} (\d+)/.exec(await answer.text())?.[1] ?? 0);
  };
  await waitFor("the first checks", async () => (await checks()) >= 5, LONG);
  const [before, first] = [look(), await checks()];
  await waitFor("many checks", async () => (await checks()) >= first + 30, LONG);
  // Stopped: between two checks, not in the midst of one.
  await daemon.ctr(["containers", "label", id, "berth/health="], { check: true });
  await waitFor("the FIFOs to go", () => readdirSync(join(daemon.state, "health")).length === 0);
  await waitFor("the descriptors to go", () => {
    const after = look();
    return after.daemon <= before.daemon + 1 && after.shim <= before.shim;
  });
  expect(look().bundle).toEqual(before.bundle);
  expect(look().work).toBe(before.work);
  expect(readFileSync(`/proc/${daemon.pid}/status`, "utf8")).toContain("berth");
  await tasks.killAndFinish(id);
});
