/**
 * ttrpc-ts against Go's ttrpc: as the client of containerd's own shim and as the server of its events, and as a client
 * of containerd's event service.
 */

import { afterAll, describe, expect } from "bun:test";
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { containerd, google } from "../../proto/gen/shim.js";
import { Client, Code, Server, unary } from "../../proto/ttrpc/index.ts";
import { run } from "../lib/command.ts";
import { Daemon } from "../lib/daemon.ts";
import { findBusybox } from "../lib/image.ts";
import { expectNoLeak, inventory } from "../lib/leak.ts";
import { rejection } from "../lib/outcome.ts";
import { whyNoContainers } from "../lib/paths.ts";
import { isAlive } from "../lib/process.ts";
import { processScope } from "../lib/scope.ts";
import { testUnless } from "../lib/skip.ts";
import { waitFor } from "../lib/wait.ts";
import { frameOf, RawPeer, requestOf } from "../unit/proto/ttrpc/wire.ts";

const task = containerd.task.v2;
const events = containerd.services.events.ttrpc.v1;
const goShim = Bun.which("containerd-shim-runc-v2") ?? "";

const impossible = whyNoContainers();
const noShim = impossible ?? (goShim === "" ? "containerd-shim-runc-v2 is not installed" : undefined);

/** Containerd's event service, as a shim sees it, kept in memory. */
class EventSink {
  readonly unix: string;
  readonly received: { topic: string; namespace: string; metadata: string | undefined; typeUrl: string }[] = [];
  readonly server = new Server();

  constructor(unix: string) {
    this.unix = unix;
    this.server.register("containerd.services.events.ttrpc.v1.Events", {
      Forward: unary(events.ForwardRequest, google.protobuf.Empty, ({ envelope }, context) => {
        this.received.push({
          topic: envelope?.topic ?? "",
          namespace: envelope?.namespace ?? "",
          metadata: context.metadata.get("containerd-namespace-ttrpc"),
          typeUrl: envelope?.event?.type_url ?? "",
        });
        return {};
      }),
    });
    this.server.listen({ unix });
  }

  get topics(): string[] {
    return this.received.map((event) => event.topic);
  }
}

/** A bundle with busybox that sleeps, made by hand and by `runc spec`. */
async function makeBundle(dir: string, cgroup: string): Promise<void> {
  mkdirSync(join(dir, "rootfs", "bin"), { recursive: true });
  for (const name of ["proc", "dev", "sys", "etc"]) mkdirSync(join(dir, "rootfs", name));
  writeFileSync(join(dir, "rootfs/bin/busybox"), readFileSync(findBusybox()), { mode: 0o755 });
  await run(["runc", "spec", "--bundle", dir], { check: true });
  const path = join(dir, "config.json");
  const spec = JSON.parse(readFileSync(path, "utf8"));
  spec.process.terminal = false;
  spec.process.args = ["/bin/busybox", "sleep", "100"];
  spec.linux.cgroupsPath = `/${cgroup}`;
  writeFileSync(path, JSON.stringify(spec));
  await run(["mkfifo", join(dir, "log")], { check: true });
}

const sockets = new Set<string>();
afterAll(() => {
  for (const path of sockets) rmSync(path, { force: true });
});

/** A serving shim of containerd's, started by hand as containerd starts it (INV-2, ST-4). */
class GoShim {
  readonly bundle: string;
  readonly socketPath: string;
  readonly client: Client;
  /** The name under which it serves Task: 2.1 and later have version 3 alone (TT-7). */
  readonly service: string;
  readonly #token: string;
  readonly #id: string;
  readonly #log: number;

  private constructor(bundle: string, socketPath: string, client: Client, service: string, token: string, id: string) {
    this.bundle = bundle;
    this.socketPath = socketPath;
    this.client = client;
    this.service = service;
    this.#token = token;
    this.#id = id;
    this.#log = openSync(join(bundle, "log"), "r+");
  }

  static async start(dir: string, token: string, id: string, eventsAddress: string): Promise<GoShim> {
    const bundle = join(dir, id);
    await makeBundle(bundle, `${token}-${id}`);
    const argv = [goShim, "-namespace", token, "-address", join(dir, "c.sock"), "-publish-binary", "/bin/true"];
    const env = { ...process.env, TTRPC_ADDRESS: eventsAddress, GOMAXPROCS: "2" };
    // The shim's log is a FIFO that containerd reads; held open meanwhile so that opening it does not block the shim.
    const log = openSync(join(bundle, "log"), "r+");
    const { stdout } = await run([...argv, "-id", id, "start"], { cwd: bundle, env, check: true });
    const address: string = stdout.startsWith("{") ? JSON.parse(stdout).address : stdout.trim();
    expect(address).toStartWith("unix://");
    const socketPath = address.slice("unix://".length);
    // Whatever fails from here on, the guard ends the process; the socket is the one thing that lies elsewhere.
    sockets.add(socketPath);
    const client = await Client.connect({ unix: socketPath }, { timeoutMs: 5000 });
    const version2 = "containerd.task.v2.Task";
    const service = await client.call(version2, "Connect", task.ConnectRequest, task.ConnectResponse, { id }).then(
      () => version2,
      (error: { code: number }) => {
        expect(error.code).toBe(Code.Unimplemented);
        return "containerd.task.v3.Task";
      },
    );
    const shim = new GoShim(bundle, socketPath, client, service, token, id);
    closeSync(log);
    return shim;
  }

  call<Request, Response>(
    method: string,
    request: { encode(message: Request): { finish(): Uint8Array } },
    response: { decode(bytes: Uint8Array): Response },
    message: Request,
    timeoutMs = 10_000,
  ): Promise<Response> {
    const metadata = { "containerd-namespace-ttrpc": this.#token };
    return this.client.call(this.service, method, request, response, message, { metadata, timeoutMs });
  }

  /** Ends it and removes what it leaves, whatever state it is in. */
  async remove(): Promise<void> {
    await this.call("Shutdown", task.ShutdownRequest, google.protobuf.Empty, { id: this.#id, now: true }, 3000).catch(
      () => "it has ended already",
    );
    this.client.close();
    const argv = [goShim, "-namespace", this.#token, "-id", this.#id, "-bundle", this.bundle, "delete"];
    await run(argv, { cwd: this.bundle });
    rmSync(this.socketPath, { force: true });
    closeSync(this.#log);
    rmSync(`/run/containerd/runc/${this.#token}`, { recursive: true, force: true });
    rmSync(this.bundle, { recursive: true, force: true });
  }
}

describe("containerd-shim-runc-v2", () => {
  testUnless(
    noShim,
    "TT-4 TT-5 TT-6 TT-7 TT-8 its Task service answers our client, its events reach our server",
    async () => {
      const scope = processScope();
      const leaks = inventory(scope);
      const id = "interop";
      const sink = new EventSink(join(scope.dir, "events.sock"));
      let shim: GoShim | undefined;
      try {
        shim = await GoShim.start(scope.dir, scope.token, id, sink.unix);
        await driveContainer(shim, id);
        await waitFor("four events", () => sink.received.length >= 4);
        expect(sink.topics).toEqual(["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]);
        for (const event of sink.received) {
          expect(event).toMatchObject({ namespace: scope.token, metadata: scope.token });
          expect(event.typeUrl).toStartWith("containerd.events.Task");
        }
        await endShim(shim, id);
      } finally {
        await shim?.remove();
        await sink.server.shutdown({ graceMs: 1000 });
      }
      await expectNoLeak(leaks, () => inventory(scope));
    },
    60_000,
  );
});

/** The life of a container through every kind of answer that Go gives. */
async function driveContainer(shim: GoShim, id: string): Promise<void> {
  const state = () => shim.call("State", task.StateRequest, task.StateResponse, { id });
  // Each refusal has Go's code, and leaves the connection in order.
  expect(await rejection(state())).toMatchObject({ code: Code.NotFound });
  const absent = shim.call("Absent", task.StateRequest, task.StateResponse, { id });
  expect(await rejection(absent)).toMatchObject({ code: Code.Unimplemented });
  const nowhere = shim.client.call("no.Service", "State", task.StateRequest, task.StateResponse, { id });
  expect(await rejection(nowhere)).toMatchObject({ code: Code.Unimplemented, message: "service no.Service" });

  const { bundle } = shim;
  const created = await shim.call("Create", task.CreateTaskRequest, task.CreateTaskResponse, { id, bundle });
  expect(isAlive(created.pid ?? 0)).toBe(true);
  expect(await state()).toMatchObject({ id, bundle, pid: created.pid, status: 1 });
  await shim.call("Start", task.StartRequest, task.StartResponse, { id });
  expect(await state()).toMatchObject({ status: 2 });

  const wait = shim.call("Wait", task.WaitRequest, task.WaitResponse, { id }, 20_000);
  const impatient = shim.call("Wait", task.WaitRequest, task.WaitResponse, { id }, 50);
  expect(await rejection(impatient)).toMatchObject({ code: Code.DeadlineExceeded });
  const states = await Promise.all(Array.from({ length: 200 }, state));
  expect(states.every((one) => one.status === 2)).toBe(true);

  await shim.call("Kill", task.KillRequest, google.protobuf.Empty, { id, signal: 9 });
  const exit = await wait;
  expect(exit.exitStatus).toBe(137);
  expect(Number(exit.exitedAt?.seconds)).toBeWithin(Date.now() / 1000 - 60, Date.now() / 1000 + 60);
  expect(await state()).toMatchObject({ status: 3, exitStatus: 137 });
  const deleted = await shim.call("Delete", task.DeleteRequest, task.DeleteResponse, { id });
  expect(deleted).toMatchObject({ pid: created.pid, exitStatus: 137 });
}

/** Shutdown: the shim ends with its answer still on the way, so that answer or the closed connection must come. */
async function endShim(shim: GoShim, id: string): Promise<void> {
  const { shimPid } = await shim.call("Connect", task.ConnectRequest, task.ConnectResponse, { id });
  expect(isAlive(shimPid ?? 0)).toBe(true);
  const outcome: unknown = await shim.call("Shutdown", task.ShutdownRequest, google.protobuf.Empty, { id }).then(
    () => "answered",
    (error: unknown) => error,
  );
  if (outcome !== "answered") expect(outcome).toMatchObject({ code: Code.Unavailable });
  await shim.client.closed;
  const late = shim.call("State", task.StateRequest, task.StateResponse, { id });
  expect(await rejection(late)).toMatchObject({ code: Code.Unavailable });
  await waitFor("the shim to end", () => !isAlive(shimPid ?? 0));
}

describe("the wire of Go's server and of ours", () => {
  testUnless(
    noShim,
    "TT-1 TT-2 TT-3 TT-5 the same bytes get the same answers",
    async () => {
      const scope = processScope();
      const leaks = inventory(scope);
      const id = "wire";
      const unix = join(scope.dir, "ours.sock");
      const ours = new Server();
      ours.listen({ unix });
      let shim: GoShim | undefined;
      const peers: RawPeer[] = [];
      try {
        shim = await GoShim.start(scope.dir, scope.token, id, join(scope.dir, "none.sock"));
        const { service } = shim;
        ours.register(service, {
          Connect: unary(task.ConnectRequest, task.ConnectResponse, () => ({ shimPid: 1 })),
        });
        const connect = { service, method: "Connect", payload: task.ConnectRequest.encode({ id }).finish() };
        const extended = Buffer.concat([requestOf(3, connect).slice(10), Buffer.of(0x30, 1)]);
        const vectors: [name: string, streamId: number, bytes: Uint8Array, code: number][] = [
          ["a good call", 1, requestOf(1, connect), 0],
          ["an unknown field", 3, frameOf(3, 1, 0, extended), 0],
          ["an even id", 4, requestOf(4, connect), 3],
          ["an unknown method", 5, requestOf(5, { service, method: "No" }), 12],
          ["an unknown service", 7, requestOf(7, { service: "No", method: "Connect" }), 12],
          ["a payload that is no message", 9, requestOf(9, { ...connect, payload: Buffer.of(0x0a, 0xff) }), 13],
          ["a frame too large", 11, frameOf(11, 1, 0, new Uint8Array((4 << 20) + 1)), 8],
          ["a good call after all that", 13, requestOf(13, connect), 0],
          ["an id again", 13, requestOf(13, connect), 3],
          ["a lower id", 1, requestOf(1, connect), 3],
        ];
        for (const server of [shim.socketPath, unix]) {
          const peer = await RawPeer.connect(server);
          peers.push(peer);
          const got: [string, number][] = [];
          for (const [name, streamId, bytes] of vectors) {
            // A frame of unknown type before each: no one may answer it, or mind it.
            peer.send(frameOf(streamId | 1, 77, 3, Buffer.of(1, 2, 3)), bytes);
            got.push([name, (await peer.response(streamId, 5000)).code]);
          }
          // ttrpc 1.1, as in containerd 1.6, does not look whether ids increase.
          const lenient = server === shim.socketPath && got.at(-1)?.[1] === 0;
          if (lenient) console.log("this shim's ttrpc accepts ids that do not increase");
          const count = lenient ? vectors.length - 2 : vectors.length;
          const expected: [string, number][] = vectors.map(([name, , , code]) => [name, code]);
          expect(got.slice(0, count)).toEqual(expected.slice(0, count));
          expect(peer.frames).toEqual([]);
        }
      } finally {
        for (const peer of peers) peer.close();
        await ours.shutdown({ graceMs: 1000 });
        await shim?.remove();
      }
      await expectNoLeak(leaks, () => inventory(scope));
    },
    60_000,
  );
});

describe("containerd", () => {
  let daemon: Daemon | undefined;
  afterAll(async () => {
    await daemon?.stop();
    daemon?.remove();
  });

  testUnless(
    impossible,
    "TT-4 EV-1 its ttrpc event service takes our events, and ctr sees them",
    async () => {
      const scope = processScope();
      daemon = new Daemon(join(scope.dir, "d"), scope.token);
      await daemon.start();
      const child = Bun.spawn(daemon.ctrCommand(["events"]), {
        stdout: "pipe",
        stderr: "ignore",
        env: daemon.ctrEnv(),
      });
      let output = "";
      const reading = (async () => {
        for await (const chunk of child.stdout) output += Buffer.from(chunk).toString();
      })();
      const client = await Client.connect({ unix: `${daemon.address}.ttrpc` }, { timeoutMs: 5000 });
      try {
        const name = "containerd.services.events.ttrpc.v1.Events";
        const forward = (containerId: string, options = {}) => {
          const event = {
            type_url: "containerd.events.TaskOOM",
            value: containerd.events.TaskOOM.encode({ containerId }).finish(),
          };
          const timestamp = { seconds: Math.floor(Date.now() / 1000), nanos: 1 };
          const envelope = { timestamp, namespace: scope.token, topic: "/tasks/oom", event };
          return client.call(name, "Forward", events.ForwardRequest, google.protobuf.Empty, { envelope }, options);
        };
        const metadata = { "containerd-namespace-ttrpc": scope.token };
        // Until ctr has subscribed an event is seen by nobody, so events are sent until it sees one.
        let sent = 0;
        await waitFor("ctr to see an event", async () => {
          await forward(`first-${sent++}`, { metadata, timeoutMs: 5000 });
          return output.includes("first-");
        });
        await Promise.all(Array.from({ length: 50 }, (_, i) => forward(`many-${i}-`, { metadata })));
        await waitFor("all events", () =>
          Array.from({ length: 50 }, (_, i) => output.includes(`many-${i}-`)).every(Boolean),
        );
        const line = output.split("\n").find((text) => text.includes("many-7-"));
        expect(line).toContain(`${scope.token} /tasks/oom {"container_id":"many-7-"}`);

        // containerd's validation comes back as an error with its code: a topic without a slash.
        const bad = client.call(name, "Forward", events.ForwardRequest, google.protobuf.Empty, {
          envelope: { timestamp: { seconds: 1 }, namespace: scope.token, topic: "no-slash", event: { type_url: "x" } },
        });
        expect(await rejection(bad)).toMatchObject({ code: Code.InvalidArgument });
        await forward("last", { metadata });
      } finally {
        client.close();
        child.kill();
        await child.exited;
        await reading;
      }
    },
    60_000,
  );
});
