import { afterAll, afterEach, beforeEach, describe, expect, test } from "bun:test";
import { ttrpc } from "../../../../proto/gen/ttrpc.js";
import {
  Client,
  Code,
  codeName,
  Metadata,
  Server,
  statusOf,
  TtrpcError,
  unary,
} from "../../../../proto/ttrpc/index.ts";
import { outcome, rejection } from "../../../lib/outcome.ts";
import { frameOf, hex, openFds, type RawPeer, RawServer, socketName, until } from "./wire.ts";

const { KeyValue, Request, Response } = ttrpc;
const before = openFds();

let raw: RawServer;
let peer: RawPeer;
let client: Client;

function echo(options = {}, key = "k"): Promise<ttrpc.KeyValue.$Shape> {
  return client.call("s", "m", KeyValue, KeyValue, { key }, options);
}

function answer(streamId: number, response: ttrpc.Response.$Properties): void {
  peer.send(frameOf(streamId, 2, 0, Response.encode(response).finish()));
}

beforeEach(async () => {
  raw = new RawServer();
  client = await Client.connect({ unix: raw.unix });
  peer = await raw.peer();
});

afterEach(async () => {
  client.close();
  await client.closed;
  await until(() => peer.isClosed, "the connection is closed");
  raw.stop();
  expect(client.inFlight).toBe(0);
});

afterAll(() => until(() => openFds() <= before, "no descriptor is left"));

describe("calls", () => {
  test("TT-1 TT-4 a call is exactly these bytes, its answer by hand is understood", async () => {
    const result = client.call("s", "m", KeyValue, KeyValue, { key: "k" }, { timeoutMs: 1000, metadata: { N: "v" } });
    await peer.next();
    expect(peer.bytes).toEqual(hex("00000019 00000001 01 00 0a0173 12016d 1a030a016b 208094ebdc03 2a060a016e120176"));
    peer.send(hex("0000000a 00000001 02 00 0a00 1206 0a016b 120176"));
    expect(await result).toMatchObject({ key: "k", value: "v" });
  });

  test("TT-3 stream ids are odd and increase in the order of sending", async () => {
    const calls = [1, 2, 3].map((n) => echo({}, String(n)));
    for (const id of [1, 3, 5]) {
      const frame = await peer.next();
      expect(frame).toMatchObject({ streamId: id, type: 1, flags: 0 });
      const key = KeyValue.decode(Request.decode(frame.payload).payload ?? hex("")).key ?? "";
      answer(id, { status: {}, payload: KeyValue.encode({ key: `${key}!` }).finish() });
    }
    expect((await Promise.all(calls)).map((message) => message.key)).toEqual(["1!", "2!", "3!"]);
  });

  test("answers out of order, in single bytes, without a status and without a payload", async () => {
    const calls = [echo(), echo(), echo()];
    for (let i = 0; i < 3; i++) await peer.next();
    for (const byte of frameOf(3, 2, 0, hex("12030a0178"))) {
      peer.send(Uint8Array.of(byte));
      await Bun.sleep(0);
    }
    expect((await calls[1])?.key).toBe("x");
    peer.send(frameOf(1, 2, 0, hex("")));
    expect((await calls[0])?.key).toBe("");
    peer.send(frameOf(5, 2, 0, hex("0a00")));
    expect((await calls[2])?.key).toBe("");
  });

  test("TT-8 a status becomes a TtrpcError with code, message and details", async () => {
    const result = echo();
    await peer.next();
    const details = [{ type_url: "type.example/x", value: hex("0102") }];
    answer(1, { status: { code: 5, message: "container not created", details } });
    const error: unknown = await result.catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(TtrpcError);
    expect(error).toMatchObject({ name: "TtrpcError", code: Code.NotFound, message: "container not created" });
    expect((error as TtrpcError).details.map(({ type_url, value }) => [type_url, [...value]])).toEqual([
      ["type.example/x", [1, 2]],
    ]);
    expect(String(error)).toBe("NotFound: container not created");
  });

  test("an answer that cannot be decoded fails its call alone", async () => {
    const calls = [echo(), echo(), echo()];
    for (let i = 0; i < 3; i++) await peer.next();
    peer.send(frameOf(1, 2, 0, hex("0aff")));
    expect(await rejection(calls[0])).toMatchObject({ code: Code.Internal });
    answer(3, { status: {}, payload: hex("0aff") });
    expect(await rejection(calls[1])).toMatchObject({ code: Code.Internal });
    answer(5, { status: {} });
    await calls[2];
  });

  test("TT-2 an answer above 4 MiB fails its call alone, a request above it is not sent", async () => {
    const first = echo();
    await peer.next();
    peer.send(frameOf(1, 2, 0, new Uint8Array((4 << 20) + 1)));
    expect(await rejection(first)).toMatchObject({ code: Code.ResourceExhausted });
    expect(await rejection(echo({}, "x".repeat(5 << 20)))).toMatchObject({ code: Code.ResourceExhausted });
    const third = echo();
    expect((await peer.next()).streamId).toBe(3);
    answer(3, { status: {} });
    await third;
  });

  test("TT-3 unknown types, unknown streams, requests and late answers are ignored", async () => {
    const result = echo();
    await peer.next();
    peer.send(frameOf(1, 9, 0, hex("01")), frameOf(99, 2, 0, hex("0a00")), frameOf(1, 1, 0, hex("0a0173")));
    answer(1, { status: {}, payload: hex("0a0161") });
    answer(1, { status: {}, payload: hex("0a0162") });
    expect((await result).key).toBe("a");
    const next = echo();
    await peer.next();
    answer(3, { status: {} });
    await next;
  });

  test("stream data in answer to a unary call fails it", async () => {
    const result = echo();
    await peer.next();
    peer.send(frameOf(1, 3, 0, hex("0a0161")));
    expect(await rejection(result)).toMatchObject({ code: Code.Internal });
  });

  test("a message that cannot be encoded rejects, and takes no stream id", async () => {
    const broken = {
      encode: (): never => {
        throw new TypeError("no");
      },
    };
    expect(await outcome(client.call("s", "m", broken, KeyValue, {}))).toThrow("no");
    const next = echo();
    expect((await peer.next()).streamId).toBe(1);
    answer(1, {});
    await next;
  });
});

describe("deadlines and cancellation", () => {
  test("TT-6 the deadline is sent in nanoseconds and rejects with DeadlineExceeded", async () => {
    const result = echo({ timeoutMs: 20.5 });
    expect(Number(Request.decode((await peer.next()).payload).timeoutNano)).toBe(20_500_000);
    expect(await rejection(result)).toMatchObject({ code: Code.DeadlineExceeded });
    expect(client.inFlight).toBe(0);
    answer(1, { status: {} });
    for (const timeoutMs of [0, -1, Number.NaN]) {
      expect(await rejection(echo({ timeoutMs }))).toMatchObject({ code: Code.DeadlineExceeded });
    }
  });

  test("a deadline beyond a timer's reach is left to the server", async () => {
    const result = echo({ timeoutMs: 2 ** 40 });
    expect(Number(Request.decode((await peer.next()).payload).timeoutNano)).toBe(2 ** 40 * 1e6);
    await Bun.sleep(10);
    answer(1, { status: {} });
    await result;
  });

  test("an abort rejects with Canceled and keeps its reason, before and during the call", async () => {
    const controller = new AbortController();
    const result = echo({ signal: controller.signal });
    await peer.next();
    controller.abort(new Error("enough"));
    const error: unknown = await result.catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: Code.Canceled, cause: { message: "enough" } });
    expect(await rejection(echo({ signal: controller.signal }))).toMatchObject({ code: Code.Canceled });
    expect(await rejection(echo({ signal: AbortSignal.timeout(5) }))).toMatchObject({ code: Code.DeadlineExceeded });
    expect(client.inFlight).toBe(0);
  });
});

describe("the connection", () => {
  test("when the server closes, waiting calls and later ones are Unavailable and say why", async () => {
    const result = echo();
    await peer.next();
    let told = 0;
    client.onClose(() => told++);
    peer.close();
    expect(await rejection(result)).toMatchObject({
      code: Code.Unavailable,
      message: expect.stringContaining(`the connection to ${raw.unix} is closed`),
    });
    await client.closed;
    expect(client.isOpen).toBe(false);
    expect(await rejection(echo())).toMatchObject({ code: Code.Unavailable });
    expect(await rejection(client.stream("s", "m", KeyValue, KeyValue, { kind: "bidi" }))).toMatchObject({ code: 14 });
    expect(told).toBe(1);
  });

  test("when the client closes, waiting calls are Unavailable; closing twice is nothing", async () => {
    const result = echo();
    client.close();
    client.close();
    expect(await rejection(result)).toMatchObject({ code: Code.Unavailable });
  });

  test("connecting to nobody is Unavailable with the errno", async () => {
    expect(await rejection(Client.connect({ unix: "/nowhere/s.sock" }))).toMatchObject({ code: 14, errno: "ENOENT" });
    expect(await rejection(Client.connect({ unix: socketName() }, { timeoutMs: 500 }))).toMatchObject({ code: 14 });
    expect(await rejection(Client.connect({ unix: `/${"x".repeat(200)}` }))).toMatchObject({ code: 3 });
    expect(await rejection(Client.connect({ unix: "" }))).toMatchObject({ code: 3 });
  });

  test("a server that never reads: past maxQueuedBytes the connection is given up", async () => {
    const small = await Client.connect({ unix: raw.unix }, { maxQueuedBytes: 8 << 20 });
    const deaf = await raw.peer();
    deaf.pause();
    const calls = Array.from({ length: 6 }, () =>
      small.call("s", "m", KeyValue, KeyValue, { key: "x".repeat(3 << 20) }).catch((error: unknown) => error),
    );
    for (const error of await Promise.all(calls)) expect(error).toMatchObject({ code: Code.Unavailable });
    expect(await small.closed).toMatchObject({ message: expect.stringContaining("unread") });
    deaf.resume();
    await until(() => deaf.isClosed, "closed");
  });
});

describe("client and server together", () => {
  test("large messages both ways, many at a time, all whole", async () => {
    const server = new Server();
    server.register("s", {
      Echo: unary(KeyValue, KeyValue, (request) => ({ key: request.key, value: request.value })),
    });
    const unix = socketName();
    server.listen({ unix });
    const other = await Client.connect({ unix });
    const value = "0123456789".repeat(300_000);
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, i) => other.call("s", "Echo", KeyValue, KeyValue, { key: String(i), value })),
    );
    for (const [i, message] of answers.entries()) {
      expect(message.key).toBe(String(i));
      expect(message.value === value).toBe(true);
    }
    other.close();
    await server.shutdown();
  });
});

describe("metadata and status", () => {
  test("TT-4 metadata is a multi-map without regard to case", () => {
    const metadata = new Metadata({ A: "1", b: ["2", "3"] }).append("B", "4").set("c", "5");
    expect(metadata.toPairs()).toEqual([
      { key: "a", value: "1" },
      { key: "b", value: "2" },
      { key: "b", value: "3" },
      { key: "b", value: "4" },
      { key: "c", value: "5" },
    ]);
    expect(metadata.get("B")).toBe("2");
    expect(metadata.getAll("x")).toEqual([]);
    expect([metadata.has("C"), metadata.delete("C"), metadata.has("c"), metadata.size]).toEqual([true, true, false, 2]);
    expect(new Metadata(metadata).toPairs()).toEqual(metadata.toPairs());
    expect(Metadata.fromPairs([{}]).toPairs()).toEqual([{ key: "", value: "" }]);
  });

  test("TT-8 the status of any thrown value, be it hostile", () => {
    const hostile = Object.create(null);
    expect(statusOf(hostile).code).toBe(Code.Unknown);
    expect(statusOf(undefined)).toEqual({ code: 2, message: "undefined" });
    expect(statusOf(new DOMException("x", "AbortError"))).toMatchObject({ code: Code.Canceled });
    expect(statusOf(new DOMException("x", "TimeoutError"))).toMatchObject({ code: Code.DeadlineExceeded });
    expect(codeName(5)).toBe("NotFound");
    expect(codeName(77)).toBe("Code(77)");
  });
});
