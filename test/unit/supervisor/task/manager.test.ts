/** The manager of tasks with shims of paper: scripts for the binary calls, and a ttrpc server of the test's own. */

import { afterEach, beforeEach, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { notFound, toStatus } from "../../../../proto/errdefs.ts";
import { containerd, google } from "../../../../proto/gen/supervisor.js";
import { Server } from "../../../../proto/ttrpc/server.ts";
import { unary } from "../../../../proto/ttrpc/service.ts";
import { listen } from "../../../../shim/linux/index.ts";
import { type Envelope, Exchange } from "../../../../supervisor/event/exchange.ts";
import { silent } from "../../../../supervisor/log/log.ts";
import { Bundle } from "../../../../supervisor/task/bundle.ts";
import { TaskManager } from "../../../../supervisor/task/manager.ts";
import { Programs } from "../../../../supervisor/task/program.ts";
import type { NewTask } from "../../../../supervisor/task/task.ts";
import { waitFor } from "../../../lib/wait.ts";

const v2 = containerd.task.v2;
const { Empty } = google.protobuf;
const wanted: NewTask = {
  spec: new TextEncoder().encode("{}"),
  runtime: "paper",
  options: undefined,
  rootfs: [],
  checkpoint: "",
  sandbox: undefined,
  stdin: "",
  stdout: "",
  stderr: "",
  terminal: false,
};

/** A shim that is not a process. Each Wait stays unanswered until `exits` is called for its process. */
class PaperShim {
  readonly socket: string;
  readonly #server = new Server({ mapError: toStatus });
  readonly #stop: () => void;
  readonly #waits: { execId: string; resolve: (status: number) => void }[] = [];
  /** What Create waits for. */
  creating: Promise<unknown> = Promise.resolve();
  state = containerd.v1.types.Status.RUNNING;
  isThere = true;
  deletes = 0;

  constructor(socket: string) {
    this.socket = socket;
    this.#server.register("containerd.task.v2.Task", {
      Create: unary(v2.CreateTaskRequest, v2.CreateTaskResponse, async () => {
        await this.creating;
        return { pid: 42 };
      }),
      State: unary(v2.StateRequest, v2.StateResponse, ({ id }) => {
        if (!this.isThere) throw notFound("container not created: not found");
        return { id, pid: 42, status: this.state };
      }),
      Delete: unary(v2.DeleteRequest, v2.DeleteResponse, () => {
        if (!this.isThere) throw notFound("container not created: not found");
        this.deletes++;
        return { pid: 42, exitStatus: 5 };
      }),
      Wait: unary(v2.WaitRequest, v2.WaitResponse, async ({ execId }) => {
        const { promise, resolve } = Promise.withResolvers<number>();
        this.#waits.push({ execId, resolve });
        return { exitStatus: await promise };
      }),
      Shutdown: unary(v2.ShutdownRequest, Empty, () => ({})),
    });
    this.#stop = listen(socket, (connection) => connection.serveBy(this.#server));
  }

  get waits(): number {
    return this.#waits.length;
  }

  /** Answers the latest Wait for a process. */
  exits(execId: string, status: number): void {
    this.#waits.findLast((wait) => wait.execId === execId)?.resolve(status);
  }

  async die(): Promise<void> {
    this.#stop();
    await this.#server.shutdown({ graceMs: 0 });
  }
}

let dir: string;
let exchange: Exchange;
let shim: PaperShim;
let manager: TaskManager;
let told: Envelope[];
let listening: AbortController;

const roots = () => ({ root: join(dir, "root"), state: join(dir, "state") });
const bundle = () => new Bundle(roots(), "ns", "c");
const file = (name: string) => join(dir, name);
const calls = (): string[] => (existsSync(file("calls")) ? readFileSync(file("calls"), "utf8").trim().split("\n") : []);

function makeManager(): TaskManager {
  const caller = { address: "/run/x", ttrpcAddress: "/run/x.ttrpc", env: {}, debug: false };
  const programs = new Programs(new Map([["paper", file("shim")]]));
  return new TaskManager({ roots: roots(), caller, programs, exchange, log: silent });
}

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "berth-manager-"));
  // Deletes take as long as the file `slow` says, fail while `fail` is there, and answer status 137.
  const script = `#!/bin/sh
for last; do :; done
if [ "$last" = start ]; then cat > /dev/null; printf 'unix://${dir}/sock'; exit; fi
echo begin >> ${dir}/calls
[ -e ${dir}/slow ] && sleep $(cat ${dir}/slow)
echo end >> ${dir}/calls
[ -e ${dir}/fail ] && { echo no luck >&2; exit 1; }
printf '\\020\\211\\001'
`;
  writeFileSync(file("shim"), script);
  chmodSync(file("shim"), 0o755);
  exchange = new Exchange();
  shim = new PaperShim(file("sock"));
  manager = makeManager();
  told = [];
  listening = new AbortController();
  const events = exchange.subscribe([], listening.signal);
  void (async () => {
    for await (const event of events) told.push(event);
  })();
});

afterEach(async () => {
  listening.abort();
  await manager.stop();
  await shim.die();
  rmSync(dir, { recursive: true, force: true });
});

test("who waits for a task is answered when it is deleted, also by a shim that forgot them", async () => {
  await manager.create("ns", "c", wanted);
  const task = await manager.get("ns", "c");
  const waiting = task.wait("");
  await waitFor("the wait", () => shim.waits === 1);
  expect((await manager.delete(task)).status).toBe(5);
  expect((await Promise.race([waiting, Bun.sleep(2_000)]))?.status).toBe(5);
});

test("who waits for a task whose Create fails is answered", async () => {
  const { promise, reject } = Promise.withResolvers<void>();
  shim.creating = promise;
  const creating = manager.create("ns", "c", wanted).catch((error: Error) => error.message);
  await waitFor("the task", () => manager.find("ns", "c") !== undefined);
  const waiting = manager.find("ns", "c")?.wait("");
  await waitFor("the wait", () => shim.waits === 1);
  reject(new Error("no luck"));
  expect(await creating).toContain("no luck");
  expect((await Promise.race([waiting, Bun.sleep(2_000)]))?.status).toBe(137);
});

test("a Delete in the midst of a Create comes after it", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  shim.creating = promise;
  shim.isThere = false;
  const creating = manager.create("ns", "c", wanted);
  await waitFor("the task", () => manager.find("ns", "c") !== undefined);
  const deleting = manager.delete(await manager.get("ns", "c"));
  await Bun.sleep(50);
  shim.isThere = true;
  resolve();
  expect(await creating).toBe(42);
  expect((await deleting).status).toBe(5);
  expect(await manager.create("ns", "c", wanted)).toBe(42);
});

test("a Create whose caller has gone meanwhile leaves no task", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  shim.creating = promise;
  const controller = new AbortController();
  const creating = manager.create("ns", "c", wanted, controller.signal).catch((error: Error) => error.message);
  await waitFor("the task", () => manager.find("ns", "c") !== undefined);
  controller.abort();
  resolve();
  expect(await creating).toContain("context canceled");
  expect(shim.deletes).toBe(1);
  expect(manager.find("ns", "c")).toBeUndefined();
  expect(await manager.create("ns", "c", wanted)).toBe(42);
});

test("an exec that is deleted without having run answers its waiters, and one of its name has waiters of its own", async () => {
  await manager.create("ns", "c", wanted);
  const task = await manager.get("ns", "c");
  const first = task.wait("e");
  await waitFor("the wait", () => shim.waits === 1);
  await task.deleteExec("e");
  expect((await Promise.race([first, Bun.sleep(2_000)]))?.status).toBe(5);
  const second = task.wait("e");
  await waitFor("the second wait", () => shim.waits === 2);
  shim.exits("e", 3);
  expect((await Promise.race([second, Bun.sleep(2_000)]))?.status).toBe(3);
});

test("a later attempt to clean up does not run into a Create", async () => {
  await manager.create("ns", "c", wanted);
  writeFileSync(file("fail"), "");
  await shim.die();
  await waitFor("the first attempt", () => calls().length === 2);
  rmSync(file("fail"));
  writeFileSync(file("slow"), "0.5");
  shim = new PaperShim(file("sock"));
  // The second attempt is due after a second, in the midst of what Create does about it.
  await Bun.sleep(700);
  await manager.create("ns", "c", wanted);
  await Bun.sleep(800);
  expect(calls()).toEqual(["begin", "end", "begin", "end"]);
  expect(existsSync(bundle().file("config"))).toBe(true);
});

test("what a new daemon could not clean up is cleaned up before its id is used again", async () => {
  await manager.create("ns", "c", wanted);
  await manager.stop();
  await shim.die();
  writeFileSync(file("fail"), "");
  manager = makeManager();
  manager.load(() => "paper");
  await manager.loaded;
  expect(calls()).toEqual(["begin", "end"]);
  shim = new PaperShim(file("sock"));
  expect(await manager.create("ns", "c", wanted).catch((error: Error) => error.message)).toContain("no luck");
  rmSync(file("fail"));
  expect(await manager.create("ns", "c", wanted)).toBe(42);
  expect(calls()).toHaveLength(6);
});

test("a shim whose bundle somebody has removed is cleaned up after, and its id can be used", async () => {
  await manager.create("ns", "c", wanted);
  rmSync(bundle().path, { recursive: true });
  await shim.die();
  await waitFor("the end to be told", () => told.length === 2);
  expect(told.map(({ topic }) => topic)).toEqual(["/tasks/exit", "/tasks/delete"]);
  shim = new PaperShim(file("sock"));
  expect(await manager.create("ns", "c", wanted)).toBe(42);
  expect(calls()).toEqual(["begin", "end"]);
});

test("a Create waits until it is known whether a task of an earlier daemon is one", async () => {
  await manager.create("ns", "c", wanted);
  await manager.stop();
  shim.isThere = false;
  manager = makeManager();
  manager.load(() => "paper");
  await waitFor("the shim to be found", () => manager.find("ns", "c") !== undefined, { interval: 0 });
  expect(await manager.create("ns", "c", wanted)).toBe(42);
});

test("R01 an exit that a shim tells before its task is taken over is kept for those who come back, and told once", async () => {
  await manager.create("ns", "c", wanted);
  await manager.stop();
  manager = makeManager();
  const exitedAt = { seconds: 1_700_000_000, nanos: 5 };
  const value = containerd.events.TaskExit.encode({
    containerId: "c",
    id: "c",
    pid: 42,
    exitStatus: 7,
    exitedAt,
  }).finish();
  const event = { type_url: "containerd.events.TaskExit", value };
  const envelope = { namespace: "ns", topic: "/tasks/exit", timestamp: exitedAt, event };
  expect(manager.observe(envelope)).toBe("new");
  manager.load(() => "paper");
  expect(manager.find("ns", "c")).toBeUndefined();
  expect(manager.observe(envelope)).toBe("missed");
  expect(manager.observe(envelope)).toBe("told");
  await manager.loaded;
  expect(manager.find("ns", "c")?.exit).toMatchObject({ pid: 42, status: 7 });
  expect(manager.observe(envelope)).toBe("told");
});
