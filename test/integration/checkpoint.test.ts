/** Checkpoint and restore (contract 1.11), with whichever criu works on this kernel: the first line says which. */

import { expect } from "bun:test";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { containerd, google } from "../../proto/gen/shim.js";
import { Code, TtrpcError } from "../../proto/ttrpc/index.ts";
import { findCriu, pathWithoutCriu } from "../lib/criu.ts";
import { Fifos } from "../lib/fifo.ts";
import { whyNoContainers } from "../lib/paths.ts";
import { type Bundle, processSpec, type Shim, type ShimRig, shimSuite, type TaskStdio } from "../lib/shim.ts";
import { waitFor } from "../lib/wait.ts";

const suite = shimSuite();
const criu = whyNoContainers() ?? (await findCriu());
const none = typeof criu === "string" ? criu : undefined;
const path = typeof criu === "string" ? pathWithoutCriu() : `${criu.directory}:${process.env["PATH"]}`;
console.log(`checkpoint and restore by ${typeof criu === "string" ? `no criu: ${criu}` : criu.origin}`);

const { CheckpointTaskRequest } = containerd.task.v2;
type CheckpointOptions = containerd.runc.v1.CheckpointOptions.$Properties;

/** Counts in memory, and tells a file. */
const counter = 'i=0; while :; do i=$((i+1)); echo $i > "/tmp/$0.new"; mv "/tmp/$0.new" "/tmp/$0"; usleep 20000; done';

/** The counter's last word. */
function count(rig: ShimRig, name: string): number {
  return Number(readFileSync(join(rig.root, "tmp", name), "utf8"));
}

/** Starts a shim whose runc finds criu, with a container that counts. */
async function counting(rig: ShimRig, name: string, stdio: TaskStdio = {}, env = { PATH: path }): Promise<Shim> {
  const shim = await rig.start(await rig.bundle({ args: ["sh", "-c", counter, name] }), { env });
  await shim.create(stdio);
  await shim.task.start(shim.id);
  await waitFor("the count to begin", () => count(rig, name) > 3);
  return shim;
}

async function checkpoint(shim: Shim, image: string, options: CheckpointOptions = {}): Promise<void> {
  const value = containerd.runc.v1.CheckpointOptions.encode(options).finish();
  const any = { type_url: "containerd.runc.v1.CheckpointOptions", value };
  const request = { id: shim.id, path: image, options: any };
  await shim.task.call("Checkpoint", [CheckpointTaskRequest, google.protobuf.Empty], request, { timeoutMs: 30_000 });
}

/** Makes a container from a checkpoint in a shim of its own; it is not started. */
async function restored(rig: ShimRig, bundle: Bundle, image: string, stdio: TaskStdio = {}): Promise<Shim> {
  const shim = await rig.start(bundle, { env: { PATH: path } });
  await shim.task.create({ ...shim.createRequest(stdio), checkpoint: image });
  return shim;
}

/** The error a call must end with. */
async function failure(call: Promise<unknown>): Promise<TtrpcError> {
  const error = await call.then(
    () => new Error("the call succeeded, and should not have"),
    (error: Error) => error,
  );
  if (error instanceof TtrpcError) return error;
  throw error;
}

suite.test(
  "CP-1 CP-3 a counter goes on counting where its checkpoint was made",
  async (rig) => {
    const image = join(rig.dir, "image1");
    const shim = await counting(rig, "one");
    const { bundle } = shim;
    await checkpoint(shim, image, { exit: true });
    const last = count(rig, "one");
    expect(await shim.task.wait(shim.id)).toMatchObject({ exitStatus: 137 });
    await shim.task.delete(shim.id);
    await shim.end();
    writeFileSync(join(rig.root, "tmp", "one"), "0");

    const again = await restored(rig, bundle, image);
    expect((await again.task.state(again.id)).status).toBe("CREATED");
    const exec = again.task.exec(again.id, "x", processSpec(["true"]));
    expect(await failure(exec)).toMatchObject({ message: expect.stringContaining("cannot exec in a created state") });
    const pid = await again.task.start(again.id);
    expect(await again.task.state(again.id)).toMatchObject({ status: "RUNNING", pid });
    await waitFor("the count to go on", () => count(rig, "one") > last);
    // In memory alone is it known how far it was.
    expect(count(rig, "one")).toBeLessThan(last + 200);
    await again.task.exec(again.id, "y", processSpec(["sh", "-c", "exit 5"]));
    await again.task.start(again.id, "y");
    expect(await again.task.wait(again.id, "y")).toMatchObject({ exitStatus: 5 });
    await again.task.delete(again.id, "y");
    expect(await again.killInit()).toMatchObject({ exitStatus: 137 });
    await again.task.delete(again.id);
    rmSync(image, { recursive: true });
  },
  { skip: none, timeout: 60_000 },
);

suite.test(
  "CP-1 a checkpoint leaves the container running, also a paused one, and may be made again",
  async (rig) => {
    const shim = await counting(rig, "two");
    for (const name of ["image2", "image3"]) {
      const image = join(rig.dir, name);
      await checkpoint(shim, image);
      expect(existsSync(join(image, "inventory.img"))).toBe(true);
      const before = count(rig, "two");
      await waitFor("the count to go on", () => count(rig, "two") > before);
      rmSync(image, { recursive: true });
    }
    expect((await shim.task.state(shim.id)).status).toBe("RUNNING");
    await shim.killInit();
    await shim.task.delete(shim.id);
  },
  { skip: none, timeout: 60_000 },
);

suite.test(
  "CP-3 IO-2 a container with FIFOs goes on writing into those of its new client",
  async (rig) => {
    const image = join(rig.dir, "image4");
    const fifos = await Fifos.make();
    const first = fifos.read();
    const args = ["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; usleep 20000; done"];
    const shim = await rig.start(await rig.bundle({ args }), { env: { PATH: path } });
    await shim.create({ ...fifos.inOut, stderr: fifos.stdout });
    await shim.task.start(shim.id);
    await waitFor("output", () => first.text.length > 10);
    await checkpoint(shim, image, { exit: true });
    await shim.task.wait(shim.id);
    await shim.task.delete(shim.id);
    await shim.end();
    await first.kill();

    const others = await Fifos.make();
    const second = others.read();
    const again = await restored(rig, shim.bundle, image, { ...others.inOut, stderr: others.stdout });
    await again.task.start(again.id);
    await waitFor("output of the restored container", () => second.text.length > 10);
    const last = Number(first.text.trimEnd().split("\n").at(-1));
    const next = Number(second.text.split("\n")[0]);
    expect(next).toBeGreaterThan(last);
    expect(next).toBeLessThan(last + 100);
    await again.killInit();
    await again.task.delete(again.id);
    await fifos.remove();
    await others.remove();
    rmSync(image, { recursive: true });
  },
  { skip: none, timeout: 60_000 },
);

suite.test("CP-4 without criu a checkpoint is refused clearly, and the container keeps running", async (rig) => {
  const shim = await counting(rig, "three", {}, { PATH: pathWithoutCriu() });
  const error = await failure(checkpoint(shim, join(rig.dir, "image5")));
  expect(error.code).toBe(Code.FailedPrecondition);
  expect(error.message).toContain("criu");
  expect(error.message).not.toContain("\n");
  const before = count(rig, "three");
  await waitFor("the count to go on", () => count(rig, "three") > before);
  expect((await shim.task.state(shim.id)).status).toBe("RUNNING");
  await shim.killInit();
  await shim.task.delete(shim.id);
});

suite.test(
  "CP-2 CP-4 when criu refuses, its first error is told, its log is kept, the container goes on",
  async (rig) => {
    const port = 20_000 + Math.floor(Math.random() * 10_000);
    const nc = `sleep 1000 | busybox nc -l -p ${port} & (usleep 300000; sleep 1000 | busybox nc 127.0.0.1 ${port}) &`;
    const shim = await rig.start(await rig.bundle({ args: ["sh", "-c", `${nc} ${counter}`, "four"] }), {
      env: { PATH: path },
    });
    await shim.create();
    await shim.task.start(shim.id);
    const hex = port.toString(16).toUpperCase();
    // 01 is ESTABLISHED.
    const established = new RegExp(`:${hex} 01 `);
    await waitFor("the connection", () => established.test(readFileSync("/proc/net/tcp", "utf8")));
    const error = await failure(checkpoint(shim, join(rig.dir, "image6")));
    expect(error.code).toBe(Code.FailedPrecondition);
    const kept = join(shim.bundle.path, "criu-dump.log");
    expect(error.message).toMatch(/^checkpoint failed: .*Error .*TCP.* path= /i);
    expect(error.message).toEndWith(`path= ${kept}`);
    expect(readFileSync(kept, "utf8")).toContain("tcp-established");
    const before = count(rig, "four");
    await waitFor("the count to go on", () => count(rig, "four") > before);
    expect((await shim.task.state(shim.id)).status).toBe("RUNNING");
    await shim.killInit();
    await shim.task.delete(shim.id);
  },
  { skip: none, timeout: 60_000 },
);

const installed = Bun.which("criu");
const broken =
  typeof criu === "string" || installed === null || criu.directory === dirname(installed)
    ? "no criu is installed here that fails"
    : undefined;
suite.test(
  "CP-4 a criu that does not run on this kernel is told so clearly, and the container keeps running",
  async (rig) => {
    const shim = await counting(rig, "five", {}, { PATH: `${dirname(installed ?? "")}:${pathWithoutCriu()}` });
    const error = await failure(checkpoint(shim, join(rig.dir, "image9")));
    expect(error.code).toBe(Code.FailedPrecondition);
    expect(error.message).toContain("checkpoint failed: ");
    console.log(`  the installed criu: ${error.message}`);
    const before = count(rig, "five");
    await waitFor("the count to go on", () => count(rig, "five") > before);
    await shim.killInit();
    await shim.task.delete(shim.id);
  },
  { skip: broken },
);

suite.test("CP-2 a container that does not run cannot be checkpointed", async (rig) => {
  const shim = await rig.start(await rig.bundle());
  await shim.create();
  const image = join(rig.dir, "image7");
  const created = await failure(checkpoint(shim, image));
  expect(created).toMatchObject({
    code: Code.FailedPrecondition,
    message: expect.stringContaining("in created state"),
  });
  await shim.task.start(shim.id);
  await shim.killInit();
  const stopped = await failure(checkpoint(shim, image));
  expect(stopped).toMatchObject({ code: Code.FailedPrecondition, message: expect.stringContaining("stopped") });
  await shim.task.delete(shim.id);
  expect(existsSync(image)).toBe(false);
});

suite.test("CP-3 a checkpoint that is none fails at Start, and the container can be deleted", async (rig) => {
  const image = join(rig.dir, "image8");
  mkdirSync(image);
  const shim = await restored(rig, await rig.bundle(), image);
  const error = await failure(shim.task.start(shim.id));
  expect(error.code).toBe(Code.FailedPrecondition);
  expect(error.message).toContain("restore failed");
  await shim.task.delete(shim.id);
  rmSync(image, { recursive: true });
});
