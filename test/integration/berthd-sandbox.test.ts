/**
 * Sandboxes with a shim that has the Sandbox service: containerd's own of 1.7. What is expected was answered by containerd
 * 2.1.9 with the same shim to the same calls.
 */

import { afterAll, beforeAll, expect } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Berthd, builtBerthd } from "../lib/berthd.ts";
import { run } from "../lib/command.ts";
import { GrpcClient } from "../lib/grpc.ts";
import { imageName } from "../lib/image.ts";
import { rejection } from "../lib/outcome.ts";
import { root, whyNoContainers } from "../lib/paths.ts";
import { allProcesses } from "../lib/process.ts";
import { processScope } from "../lib/scope.ts";
import { testUnless } from "../lib/skip.ts";
import { waitFor } from "../lib/wait.ts";

const controller = "containerd.services.sandbox.v1.Controller";
const scope = processScope();
const tool = join(root, "../shared/with-containerd");
const shim = await sandboxShim();
const impossible =
  whyNoContainers() ??
  (existsSync(builtBerthd) ? undefined : "berthd is not built") ??
  (typeof shim === "string" ? undefined : shim.message);
const runtime = typeof shim === "string" ? shim : "";
let daemon: Berthd;
let client: GrpcClient;
let count = 0;

/** The Go shim of containerd 1.7, or why it is not there. */
async function sandboxShim(): Promise<string | Error> {
  if (!existsSync(tool)) return new Error("no shim with a Sandbox service: shared/with-containerd is not there");
  const { exitCode, stdout, stderr } = await run([tool, "--path", "1.7"], { timeout: 120_000 });
  return exitCode === 0
    ? join(stdout.trim(), "containerd-shim-runc-v2")
    : new Error(`containerd 1.7: ${stderr.trim()}`);
}

beforeAll(async () => {
  if (impossible !== undefined) return;
  daemon = new Berthd(join(scope.dir, "berthd"), scope.token);
  await daemon.start();
  await daemon.importImage();
  client = new GrpcClient(daemon.address);
}, 30_000);
afterAll(async () => {
  client?.close();
  await daemon?.stop();
  daemon?.remove();
}, 30_000);

const here = () => ({ namespace: daemon.namespace });
const shims = () => allProcesses().filter(({ argv }) => argv[0] === runtime && argv.includes(daemon.namespace));

/** Makes a sandbox, which every test ends. */
async function create(id = `s${++count}`): Promise<string> {
  const spec = { ociVersion: "1.0.2", process: { cwd: "/", args: ["true"] }, root: { path: "rootfs" } };
  const value = new TextEncoder().encode(JSON.stringify(spec));
  const sandbox = { sandboxId: id, sandboxer: "shim", runtime: { name: runtime }, spec: { typeUrl: "", value } };
  const made = await client.call(controller, "Create", { sandboxId: id, sandboxer: "shim", sandbox }, here());
  expect(made.sandboxId).toBe(id);
  return id;
}

const of = (sandboxId: string) => ({ sandboxId, sandboxer: "shim" });
const shutdown = (id: string) => client.call(controller, "Shutdown", of(id), here());

/** The shim has ended, and with it the sandbox and its bundle. */
async function isGone(id: string): Promise<void> {
  const bundle = join(daemon.state, "io.containerd.sandbox.controller.v1.shim", daemon.namespace, id);
  await waitFor("the sandbox to be gone", () => !existsSync(bundle) && !shims().some(({ argv }) => argv.includes(id)));
  const { createdAt, exitedAt } = await client.call(controller, "Status", of(id), here());
  expect(Number(createdAt?.seconds)).toBe(-62_135_596_800);
  expect(Number(exitedAt?.seconds)).toBeGreaterThan(1.7e9);
  expect(await rejection(shutdown(id))).toMatchObject({ code: 5, details: "not found" });
}

testUnless(impossible, "a sandbox is made, started, looked at and stopped", async () => {
  const id = await create();
  expect(await rejection(create(id))).toMatchObject({
    code: 6,
    details: `sandbox ${id} already running: already exists`,
  });
  expect(await rejection(client.call(controller, "Platform", of(id), here()))).toMatchObject({ code: 12 });
  const started = await client.call(controller, "Start", of(id), here());
  expect(started).toMatchObject({ sandboxId: id, pid: 0, version: 2 });
  expect(started.address).toStartWith("ttrpc+unix:///run/containerd/s/");
  // The shim tells no time, which is the epoch.
  expect(Number(started.createdAt?.seconds)).toBe(0);
  expect(await client.call(controller, "Status", { ...of(id), verbose: true }, here())).toMatchObject({
    pid: 0,
    state: "",
  });
  expect(await client.call(controller, "Wait", of(id), here())).toMatchObject({ exitStatus: 0 });
  expect(await rejection(client.call(controller, "Metrics", of(id), here()))).toMatchObject({
    code: 12,
    details: "method SandboxMetrics",
  });
  expect(shims()).toHaveLength(1);
  await client.call(controller, "Stop", { ...of(id), timeoutSecs: 5 }, here());
  await isGone(id);
});

testUnless(impossible, "DL-7 a container in a sandbox whose shim is of version 2 has a shim of its own", async () => {
  const id = await create();
  await client.call(controller, "Start", of(id), here());
  const create_ = ["containers", "create", "--runtime", runtime, "--snapshotter", daemon.snapshotter, imageName];
  await daemon.ctr([...create_, "base", "sleep", "100"], { check: true });
  const { container } = await client.call(
    "containerd.services.containers.v1.Containers",
    "Get",
    { id: "base" },
    here(),
  );
  if (!container) throw new Error("no container");
  const { image = "", spec, snapshotter = "", snapshotKey = "" } = container;
  const app = {
    id: "app",
    image,
    runtime: { name: runtime },
    spec: spec ?? null,
    snapshotter,
    snapshotKey,
    sandbox: id,
  };
  await client.call("containerd.services.containers.v1.Containers", "Create", { container: app }, here());
  const from = { snapshotter, key: snapshotKey };
  const { mounts } = await client.call("containerd.services.snapshots.v1.Snapshots", "Mounts", from, here());
  const tasks = "containerd.services.tasks.v1.Tasks";
  await client.call(tasks, "Create", { containerId: "app", rootfs: mounts }, here());
  await client.call(tasks, "Start", { containerId: "app" }, here());
  expect(shims()).toHaveLength(2);
  await client.call(tasks, "Kill", { containerId: "app", signal: 9 }, here());
  expect(await client.call(tasks, "Wait", { containerId: "app" }, here())).toMatchObject({ exitStatus: 137 });
  await client.call(tasks, "Delete", { containerId: "app" }, here());
  await waitFor("its shim to end", () => shims().length === 1);
  await daemon.ctr(["containers", "rm", "app"], { check: true });
  await daemon.ctr(["containers", "rm", "base"]);
  await shutdown(id);
  await isGone(id);
});

testUnless(impossible, "a sandbox is found again after the daemon was killed", async () => {
  const id = await create();
  await client.call(controller, "Start", of(id), here());
  const own = () => shims().filter(({ argv }) => argv.includes(id));
  const [before] = own();
  await daemon.kill();
  await daemon.start();
  expect(await client.call(controller, "Status", of(id), here())).toMatchObject({ version: 2 });
  expect(own().map(({ pid }) => pid)).toEqual([before?.pid ?? 0]);
  expect(await rejection(create(id))).toMatchObject({ code: 6 });
  await shutdown(id);
  await isGone(id);
});
