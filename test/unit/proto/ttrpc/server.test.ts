import { afterAll, afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ttrpc } from "../../../../proto/gen/ttrpc.js";
import {
  type CallContext,
  Code,
  Server,
  type ServerOptions,
  TtrpcError,
  unary,
} from "../../../../proto/ttrpc/index.ts";
import { outcome } from "../../../lib/outcome.ts";
import { frameOf, hex, openFds, RawPeer, requestOf, socketName, until } from "./wire.ts";

const { KeyValue, Request } = ttrpc;
const before = openFds();

let server: Server;
let peer: RawPeer;
let unix: string;
let reports: string[];
let contexts: CallContext[];
/** Ends every handler of "Hang" that still runs. */
let gate: PromiseWithResolvers<void>;

const service = "test.Service";

async function start(options: ServerOptions = {}): Promise<void> {
  unix = socketName();
  reports = [];
  contexts = [];
  gate = Promise.withResolvers();
  server = new Server({ onError: (error, where) => reports.push(`${where}: ${error}`), ...options });
  server.register(service, {
    Echo: unary(KeyValue, KeyValue, (request, context) => {
      contexts.push(context);
      return { key: request.key, value: request.value };
    }),
    Hang: unary(KeyValue, KeyValue, async (request, context) => {
      contexts.push(context);
      await gate.promise;
      return { key: request.key };
    }),
    Throw: unary(KeyValue, KeyValue, (request): ttrpc.KeyValue => {
      if (request.key === "typed") throw new TtrpcError(Code.NotFound, "container not created");
      if (request.key === "text") throw "just a text";
      throw Object.assign(new Error(`failed with ${request.key}`), { code: request.key });
    }),
    Reject: unary(KeyValue, KeyValue, async (): Promise<ttrpc.KeyValue> => {
      await Bun.sleep(1);
      throw new Error("later");
    }),
    Large: unary(KeyValue, KeyValue, (request) => ({ key: "x".repeat(Number(request.key)) })),
    Bad: unary(KeyValue, { encode: () => expect.unreachable() as never }, () => ({})),
    Nothing: unary(KeyValue, KeyValue, () => undefined as never),
  });
  server.listen({ unix });
  peer = await RawPeer.connect(unix);
}

function call(streamId: number, method: string, fields: ttrpc.KeyValue.$Properties = {}, more: object = {}): void {
  const payload = KeyValue.encode(fields).finish();
  peer.send(requestOf(streamId, { service, method, payload, ...more }));
}

beforeEach(() => start());

afterEach(async () => {
  gate.resolve();
  peer.close();
  await server.shutdown({ graceMs: 500 });
  expect(server.connections).toBe(0);
  await until(() => server.inFlight === 0, "no handler runs");
});

afterAll(() => until(() => openFds() <= before, "no descriptor is left"));

describe("requests and responses", () => {
  test("TT-1 TT-4 a request written by hand is answered with exactly these bytes", async () => {
    const request = hex(
      `0a0c 746573742e53657276696365 1204 4563686f 1a06 0a016b 120176 20 80a8d6b907 2a06 0a016b 120176`,
    );
    peer.send(hex(`000000${request.length.toString(16)} 00000001 01 00`), request);
    const { payload } = await peer.response(1);
    expect(peer.bytes).toEqual(hex("0000000a 00000001 02 00 0a00 1206 0a016b 120176"));
    expect(KeyValue.decode(payload)).toMatchObject({ key: "k", value: "v" });
    expect(contexts[0]?.metadata.get("k")).toBe("v");
    expect(contexts[0]?.deadline ?? 0).toBeGreaterThan(Date.now());
    expect(contexts[0]).toMatchObject({ service, method: "Echo" });
  });

  for (const size of [1, 2]) {
    test(`TT-1 a request in ${size}-byte chunks is answered`, async () => {
      const bytes = requestOf(1, { service, method: "Echo", payload: KeyValue.encode({ key: "a" }).finish() });
      for (let at = 0; at < bytes.length; at += size) {
        peer.send(bytes.subarray(at, at + size));
        await Bun.sleep(0);
      }
      expect((await peer.response(1)).code).toBe(0);
    });
  }

  test("TT-4 metadata keeps repeated keys in order and is found in any case", async () => {
    const metadata = [
      { key: "Containerd-Namespace-TTRPC", value: "one" },
      { key: "containerd-namespace-ttrpc", value: "two" },
      { key: "__proto__", value: "x" },
    ];
    call(1, "Echo", {}, { metadata });
    await peer.response(1);
    expect(contexts[0]?.metadata.getAll("containerd-namespace-ttrpc")).toEqual(["one", "two"]);
    expect(contexts[0]?.metadata.get("__proto__")).toBe("x");
  });

  test("TT-4 an unknown field in the request is skipped", async () => {
    const request = Request.encode({ service, method: "Echo" }).finish();
    peer.send(frameOf(1, 1, 0, Buffer.concat([request, hex("b2060568656c6c6f")])));
    expect((await peer.response(1)).code).toBe(0);
  });

  test("requests of one connection run concurrently, answers come as they are ready", async () => {
    call(1, "Hang", { key: "slow" });
    call(3, "Echo", { key: "fast" });
    expect(KeyValue.decode((await peer.response(3)).payload).key).toBe("fast");
    expect(server.inFlight).toBe(1);
    gate.resolve();
    expect(KeyValue.decode((await peer.response(1)).payload).key).toBe("slow");
    expect(server.inFlight).toBe(0);
  });

  test("a thousand hanging calls are all answered", async () => {
    for (let i = 0; i < 1000; i++) call(2 * i + 1, "Hang", { key: String(i) });
    await until(() => server.inFlight === 1000, "1000 calls run");
    gate.resolve();
    for (let i = 0; i < 1000; i++) expect((await peer.response(2 * i + 1)).code).toBe(0);
  });
});

describe("refusals", () => {
  test("TT-5 an unknown service or method is Unimplemented", async () => {
    peer.send(requestOf(1, { service: "containerd.task.v9.Task", method: "State" }));
    expect(await peer.response(1)).toMatchObject({ code: 12, message: "service containerd.task.v9.Task" });
    call(3, "Absent");
    expect(await peer.response(3)).toMatchObject({ code: 12, message: "method Absent" });
    for (const [i, method] of ["constructor", "__proto__", "toString", ""].entries()) {
      call(5 + 2 * i, method);
      expect((await peer.response(5 + 2 * i)).code).toBe(12);
    }
    peer.send(requestOf(21, {}));
    expect((await peer.response(21)).code).toBe(12);
  });

  test("TT-3 even, repeated and decreasing stream ids are InvalidArgument, the connection goes on", async () => {
    const invalid = Code.InvalidArgument;
    call(5, "Echo");
    expect((await peer.response(5)).code).toBe(0);
    for (const id of [5, 3, 1]) {
      call(id, "Echo");
      expect(await peer.response(id)).toMatchObject({
        code: invalid,
        message: "StreamID cannot be re-used and must increment",
      });
    }
    for (const id of [0, 2, 8, 0xfffffffe]) {
      call(id, "Echo");
      expect(await peer.response(id)).toMatchObject({
        code: invalid,
        message: "StreamID must be odd for client initiated streams",
      });
    }
    call(7, "Echo");
    expect((await peer.response(7)).code).toBe(0);
    call(0xffffffff, "Echo");
    expect((await peer.response(0xffffffff)).code).toBe(0);
  });

  test("TT-3 frames of unknown type and stray responses are ignored", async () => {
    peer.send(frameOf(1, 0, 0, hex("00")), frameOf(1, 4, 0, hex("01")), frameOf(3, 255, 255, new Uint8Array(100_000)));
    peer.send(frameOf(1, 2, 0, hex("0a00")));
    call(1, "Echo");
    expect((await peer.response(1)).code).toBe(0);
    expect(peer.frames).toEqual([]);
  });

  test("TT-2 a request above 4 MiB is discarded and ResourceExhausted, the connection goes on", async () => {
    peer.send(frameOf(1, 1, 0, new Uint8Array((4 << 20) + 1)));
    expect(await peer.response(1)).toMatchObject({
      code: 8,
      message: "message of 4194305 bytes exceeds the limit of 4194304 bytes",
    });
    peer.send(frameOf(3, 1, 0, new Uint8Array(9 << 20)));
    expect((await peer.response(3)).code).toBe(8);
    call(5, "Echo", { key: "after" });
    expect(KeyValue.decode((await peer.response(5)).payload).key).toBe("after");
  });

  test("TT-2 a request of exactly 4 MiB is served", async () => {
    const length = (size: number) => Request.encode({ service, method: "Echo", payload: new Uint8Array(size) }).len;
    const fill = 4_194_000 + (4 << 20) - length(4_194_000);
    const payload = KeyValue.encode({ key: "k".repeat(fill - 5) }).finish();
    expect(payload.length).toBe(fill);
    const frame = requestOf(1, { service, method: "Echo", payload });
    expect(frame.length).toBe(10 + (4 << 20));
    peer.send(frame);
    expect((await peer.response(1, 5000)).code).toBe(0);
  });

  test("a request that cannot be decoded is InvalidArgument, a payload that cannot is Internal", async () => {
    peer.send(frameOf(1, 1, 0, hex("0aff")));
    const refused = await peer.response(1);
    expect(refused.code).toBe(Code.InvalidArgument);
    expect(refused.message).toStartWith("unmarshal request error: ");
    peer.send(requestOf(3, { service, method: "Echo", payload: hex("0aff01") }));
    const failed = await peer.response(3);
    expect(failed.code).toBe(Code.Internal);
    expect(failed.message).toStartWith("ttrpc: error unmarshalling payload: ");
  });

  test("calls past maxConcurrent are ResourceExhausted until others end", async () => {
    peer.close();
    await server.shutdown();
    await start({ maxConcurrent: 2 });
    call(1, "Hang");
    call(3, "Hang");
    call(5, "Echo");
    expect((await peer.response(5)).code).toBe(Code.ResourceExhausted);
    gate.resolve();
    await peer.response(1);
    await peer.response(3);
    call(7, "Echo");
    expect((await peer.response(7)).code).toBe(0);
  });

  test("data for a unary call, for no call and on an even stream is InvalidArgument", async () => {
    peer.send(frameOf(1, 3, 0, hex("01")));
    expect(await peer.response(1)).toMatchObject({ code: 3, message: "StreamID is no longer active" });
    peer.send(frameOf(2, 3, 0, hex("01")));
    expect((await peer.response(2)).code).toBe(3);
    call(3, "Hang");
    peer.send(frameOf(3, 3, 0, hex("01")));
    expect(await peer.response(3)).toMatchObject({ code: 3, message: "data on a unary stream" });
    await until(() => contexts[0]?.signal.aborted === true, "the handler's signal is aborted");
    gate.resolve();
    await until(() => server.inFlight === 0, "the handler has returned");
    call(5, "Echo");
    expect((await peer.response(5)).code).toBe(0);
  });

  test("a close that crosses the answer of its stream is not answered", async () => {
    call(1, "Echo");
    await peer.response(1);
    peer.send(frameOf(1, 3, 5, new Uint8Array(0)));
    call(3, "Echo");
    await peer.response(3);
  });
});

describe("handlers that fail", () => {
  test("TT-8 typed errors keep their code, untyped errors are Unknown, errno errors have convertCode's code", async () => {
    const table: [key: string, code: number, message: string][] = [
      ["typed", 5, "container not created"],
      ["text", 2, "just a text"],
      ["other", 2, "failed with other"],
      ["ENOENT", 5, "failed with ENOENT"],
      ["EEXIST", 6, "failed with EEXIST"],
      ["EACCES", 7, "failed with EACCES"],
      ["EPERM", 7, "failed with EPERM"],
    ];
    for (const [i, [key, code, message]] of table.entries()) {
      call(2 * i + 1, "Throw", { key });
      expect(await peer.response(2 * i + 1)).toMatchObject({ code, message });
    }
    call(21, "Reject");
    expect(await peer.response(21)).toMatchObject({ code: 2, message: "later" });
  });

  test("mapError speaks first; its own failure and an OK it gives do not reach the wire", async () => {
    peer.close();
    await server.shutdown();
    await start({
      mapError: (error) => {
        if (error === "just a text") throw new Error("the map is broken");
        if (error instanceof TtrpcError) return { code: 0, message: "fine?" };
        return error instanceof Error && error.message.includes("other")
          ? { code: 9, message: "mapped", details: [{ type_url: "a.b", value: hex("01") }] }
          : undefined;
      },
    });
    call(1, "Throw", { key: "other" });
    const frame = await peer.next();
    expect(ttrpc.Response.decode(frame.payload).status).toMatchObject({
      code: 9,
      message: "mapped",
      details: [{ type_url: "a.b" }],
    });
    call(3, "Throw", { key: "ENOENT" });
    expect((await peer.response(3)).code).toBe(5);
    call(5, "Throw", { key: "text" });
    expect(await peer.response(5)).toMatchObject({ code: 2, message: "just a text" });
    expect(reports).toEqual(["mapError: Error: the map is broken"]);
    call(7, "Throw", { key: "typed" });
    expect((await peer.response(7)).code).toBe(2);
  });

  test("an answer above 4 MiB is ResourceExhausted, one that cannot be encoded is Internal", async () => {
    call(1, "Large", { key: String(5 << 20) });
    expect((await peer.response(1)).code).toBe(8);
    call(3, "Bad");
    expect((await peer.response(3)).code).toBe(13);
    call(5, "Nothing");
    expect((await peer.response(5)).code).toBe(13);
    expect(reports.length).toBe(2);
    call(7, "Large", { key: String(4_000_000) });
    expect((await peer.response(7)).payload.length).toBeGreaterThan(4_000_000);
  });

  test("an error text above 4 MiB is cut, and still an error", async () => {
    peer.close();
    await server.shutdown();
    await start({ mapError: () => ({ code: 9, message: "x".repeat(5 << 20) }) });
    call(1, "Throw");
    const { code, message } = await peer.response(1);
    expect(code).toBe(9);
    expect(message.length).toBe(1024);
  });
});

describe("deadlines and cancellation", () => {
  test("TT-6 timeout_nano aborts the signal, the caller is told DeadlineExceeded, the late result is dropped", async () => {
    const started = performance.now();
    call(1, "Hang", {}, { timeoutNano: 30e6 });
    await until(() => contexts.length === 1, "the handler runs");
    const signal = contexts[0]?.signal;
    expect(signal?.aborted).toBe(false);
    expect(await peer.response(1)).toMatchObject({ code: 4, message: "context deadline exceeded" });
    expect(performance.now() - started).toBeGreaterThan(25);
    expect(signal?.aborted).toBe(true);
    expect(signal?.reason).toMatchObject({ code: Code.DeadlineExceeded });
    expect(server.inFlight).toBe(1);
    gate.resolve();
    await until(() => server.inFlight === 0, "the handler has returned");
    call(3, "Echo");
    await peer.response(3);
    expect(peer.frames).toEqual([]);
    expect(reports).toEqual([]);
  });

  test("TT-6 a 64-bit timeout far ahead does not fire, a negative one fires at once", async () => {
    call(1, "Hang", {}, { timeoutNano: { low: 0, high: 0x7fffffff, unsigned: false } });
    await until(() => contexts.length === 1, "the handler runs");
    await Bun.sleep(20);
    expect(contexts[0]?.signal.aborted).toBe(false);
    expect(contexts[0]?.deadline ?? 0).toBeGreaterThan(Date.now() + 9e12);
    call(3, "Hang", {}, { timeoutNano: -5 });
    expect((await peer.response(3)).code).toBe(4);
  });

  test("a signal asked for after the abort is aborted already", async () => {
    call(1, "Hang", {}, { timeoutNano: 1e6 });
    expect((await peer.response(1)).code).toBe(4);
    expect(contexts[0]?.signal.aborted).toBe(true);
  });

  test("a closed connection aborts the signals of its calls, and of no others", async () => {
    call(1, "Hang");
    const other = await RawPeer.connect(unix);
    other.send(requestOf(1, { service, method: "Hang" }));
    await until(() => contexts.length === 2, "both run");
    const signals = contexts.map((context) => context.signal);
    peer.close();
    await until(() => signals[0]?.aborted === true, "the signal is aborted");
    expect(signals[0]?.reason).toMatchObject({ code: Code.Canceled });
    expect(signals[1]?.aborted).toBe(false);
    gate.resolve();
    await other.response(1);
    other.close();
  });
});

describe("connections", () => {
  test("the idle callback is told of the first and the last connection", async () => {
    const idle: boolean[] = [];
    server.onIdleChange = (is) => idle.push(is);
    const second = await RawPeer.connect(unix);
    await until(() => server.connections === 2, "two connections");
    peer.close();
    await until(() => server.connections === 1, "one connection");
    second.close();
    await until(() => server.connections === 0, "no connection");
    peer = await RawPeer.connect(unix);
    await until(() => server.connections === 1, "a connection");
    expect(idle).toEqual([true, false]);
  });

  test("a client that asks and never reads is not read from, and answered in full when it reads", async () => {
    peer.pause();
    const payload = KeyValue.encode({ key: String(100_000) }).finish();
    const ask = (id: number) => requestOf(id, { service, method: "Large", payload });
    for (let i = 0; i < 2000; i++) peer.send(ask(2 * i + 1));
    await Bun.sleep(200);
    const rss = process.memoryUsage.rss();
    for (let i = 2000; i < 30_000; i++) peer.send(ask(2 * i + 1));
    await Bun.sleep(200);
    expect(peer.unsentBytes).toBeGreaterThan(0);
    expect(process.memoryUsage.rss() - rss).toBeLessThan(64 << 20);
    const other = await RawPeer.connect(unix);
    other.send(requestOf(1, { service, method: "Echo" }));
    expect((await other.response(1)).code).toBe(0);
    other.close();
    peer.resume();
    for (let i = 0; i < 3000; i++) expect((await peer.response(2 * i + 1)).code).toBe(0);
  }, 20_000);

  test("a socket path is bound at once, refused while it exists, and removed at the end", async () => {
    const dir = mkdtempSync(join(tmpdir(), "berth-ttrpc-"));
    try {
      const path = join(dir, "s.sock");
      const second = new Server();
      const listener = second.listen({ unix: path });
      expect(existsSync(path)).toBe(true);
      expect(() => new Server().listen({ unix: path })).toThrow(
        expect.objectContaining({ name: "TtrpcError", code: Code.AlreadyExists, errno: "EADDRINUSE" }),
      );
      listener.stop();
      listener.stop();
      expect(existsSync(path)).toBe(false);
      writeFileSync(path, "stale");
      expect(() => second.listen({ unix: path })).toThrow(expect.objectContaining({ errno: "EADDRINUSE" }));
      expect(() => second.listen({ unix: join(dir, "no", "s.sock") })).toThrow(
        expect.objectContaining({ code: Code.NotFound, errno: "ENOENT" }),
      );
      const long = join(dir, "x".repeat(107 - dir.length));
      expect(() => second.listen({ unix: long })).toThrow(expect.objectContaining({ code: Code.InvalidArgument }));
      second.listen({ unix: long.slice(0, 107) });
      expect(existsSync(long.slice(0, 107))).toBe(true);
      await second.shutdown();
      expect(existsSync(long.slice(0, 107))).toBe(false);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  test("a service name is registered once", () => {
    expect(() => server.register(service, {})).toThrow(expect.objectContaining({ code: Code.AlreadyExists }));
  });
});

describe("shutdown", () => {
  test("running calls are answered, new calls are Unavailable, then the connection is closed", async () => {
    call(1, "Hang", { key: "mine" });
    const quiet = await RawPeer.connect(unix);
    await until(() => server.inFlight === 1 && server.connections === 2, "the call runs");
    let over = false;
    const done = server.shutdown({ graceMs: 5000 }).then(() => {
      over = true;
    });
    await until(() => quiet.isClosed, "the quiet connection is closed");
    call(3, "Echo");
    expect((await peer.response(3)).code).toBe(Code.Unavailable);
    expect(await outcome(RawPeer.connect(unix))).toThrow();
    expect(over).toBe(false);
    const released = performance.now();
    gate.resolve();
    expect(KeyValue.decode((await peer.response(1)).payload).key).toBe("mine");
    await done;
    expect(performance.now() - released).toBeLessThan(1500);
    await until(() => peer.isClosed, "closed");
    expect(() => server.listen({ unix })).toThrow(expect.objectContaining({ code: Code.Unavailable }));
  });

  test("answers that wait for a slow reader are flushed first", async () => {
    peer.pause();
    for (let i = 0; i < 20; i++) call(2 * i + 1, "Large", { key: String(1_000_000) });
    await until(() => server.inFlight === 0, "handlers are done");
    await Bun.sleep(50);
    const done = server.shutdown({ graceMs: 5000 });
    await Bun.sleep(50);
    peer.resume();
    await done;
    await until(() => peer.isClosed, "closed");
    // Reading was stopped when the answers piled up; what had been read is answered in full.
    expect(peer.frames.length).toBeGreaterThan(0);
    for (const frame of peer.frames) expect(frame.payload.length).toBeGreaterThan(1_000_000);
  });

  test("a peer that does not close is not waited for longer than a moment", async () => {
    // It holds its end open, and would see the end of ours only if it read.
    peer.pause();
    call(1, "Echo");
    await until(() => contexts.length === 1, "the call was made");
    const started = performance.now();
    await server.shutdown({ graceMs: 5000 });
    expect(performance.now() - started).toBeLessThan(1500);
    expect(server.connections).toBe(0);
    peer.resume();
    expect((await peer.response(1)).code).toBe(0);
  });

  test("after the grace time running calls are aborted and answered Unavailable", async () => {
    call(1, "Hang");
    await until(() => contexts.length === 1, "the call runs");
    const signal = contexts[0]?.signal;
    const started = performance.now();
    await Promise.all([server.shutdown({ graceMs: 50 }), server.shutdown({ graceMs: 5000 })]);
    expect(performance.now() - started).toBeWithin(45, 2000);
    expect((await peer.response(1)).code).toBe(Code.Unavailable);
    expect(signal?.aborted).toBe(true);
  });

  test("it resolves at once when there is nothing to wait for", async () => {
    const started = performance.now();
    await new Server().shutdown();
    expect(performance.now() - started).toBeLessThan(100);
  });
});
