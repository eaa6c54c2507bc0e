import { afterAll, afterEach, beforeEach, describe, expect, test } from "bun:test";
import { ttrpc } from "../../../../proto/gen/ttrpc.js";
import {
  bidi,
  type CallContext,
  Client,
  Code,
  clientStream,
  Server,
  type StreamOptions,
  serverStream,
  TtrpcError,
  unary,
} from "../../../../proto/ttrpc/index.ts";
import { rejection } from "../../../lib/outcome.ts";
import { frameOf, hex, openFds, RawPeer, RawServer, requestOf, socketName, until } from "./wire.ts";

const { KeyValue, Request, Response } = ttrpc;
type Message = ttrpc.KeyValue.$Properties;
const before = openFds();
const nothing = new Uint8Array(0);

let server: Server;
let unix: string;
let client: Client;
let peer: RawPeer;
let reports: string[];
let sent: number;
let gate: PromiseWithResolvers<void>;
let contexts: CallContext[];
let seen: (string | null | undefined)[];

beforeEach(async () => {
  unix = socketName();
  reports = [];
  contexts = [];
  seen = [];
  sent = 0;
  gate = Promise.withResolvers();
  server = new Server({ onError: (error, where) => reports.push(`${where}: ${error}`) });
  server.register("s", {
    Unary: unary(KeyValue, KeyValue, (request) => ({ key: request.key })),
    Count: serverStream(KeyValue, KeyValue, async (request, responses) => {
      for (let i = 0; i < Number(request.key); i++) await responses.send({ key: String(i) });
      if (request.value) throw new TtrpcError(Code.Aborted, request.value);
    }),
    Flood: serverStream(KeyValue, KeyValue, async (request, responses, context) => {
      contexts.push(context);
      for (let i = 0; i < Number(request.key); i++) {
        await responses.send({ value: "x".repeat(100_000) });
        sent++;
      }
    }),
    Sum: clientStream(KeyValue, KeyValue, async (requests) => {
      let sum = 0;
      for await (const request of requests) sum += Number(request.key);
      return { key: String(sum) };
    }),
    Early: clientStream(KeyValue, KeyValue, async (requests) => ({ key: (await requests.receive())?.key ?? "none" })),
    Double: bidi(KeyValue, KeyValue, async (requests, responses, context) => {
      contexts.push(context);
      for await (const request of requests) {
        seen.push(request.key);
        await responses.send({ key: `${request.key}${request.key}` });
      }
    }),
    Ignore: bidi(KeyValue, KeyValue, async (requests, _responses, context) => {
      contexts.push(context);
      await gate.promise;
      for await (const request of requests) seen.push(request.key);
    }),
    Leave: clientStream(KeyValue, KeyValue, async (_requests, context) => {
      contexts.push(context);
      await gate.promise;
      return { key: "left" };
    }),
    Careless: bidi(KeyValue, KeyValue, async (requests, responses, context) => {
      contexts.push(context);
      void requests.receive();
      await gate.promise;
      void responses.send({ key: "too late" });
      void requests.receive();
    }),
  });
  server.listen({ unix });
  client = await Client.connect({ unix });
  peer = await RawPeer.connect(unix);
});

afterEach(async () => {
  gate.resolve();
  client.close();
  peer.close();
  await server.shutdown({ graceMs: 1000 });
  await until(() => server.inFlight === 0, "no handler runs");
});

afterAll(() => until(() => openFds() <= before, "no descriptor is left"));

function open(method: string, options: StreamOptions<Message>) {
  return client.stream("s", method, KeyValue, KeyValue, options);
}

async function all(stream: AsyncIterable<Message>): Promise<(string | null | undefined)[]> {
  const keys: (string | null | undefined)[] = [];
  for await (const message of stream) keys.push(message.key);
  return keys;
}

const message = (key: string) => KeyValue.encode({ key }).finish();

describe("streams by frames", () => {
  test("remote closed, data and data with remote closed and no data: a server stream's frames", async () => {
    peer.send(requestOf(1, { service: "s", method: "Count", payload: message("2") }, 1));
    expect(await peer.next()).toEqual({ streamId: 1, type: 3, flags: 0, payload: hex("0a0130") });
    expect(await peer.next()).toEqual({ streamId: 1, type: 3, flags: 0, payload: hex("0a0131") });
    expect(await peer.next()).toEqual({ streamId: 1, type: 3, flags: 5, payload: nothing });
  });

  test("a server stream with an empty request runs: an empty payload is a message", async () => {
    peer.send(requestOf(1, { service: "s", method: "Count" }, 1));
    expect(await peer.next()).toEqual({ streamId: 1, type: 3, flags: 5, payload: nothing });
  });

  test("an error ends a stream with a response", async () => {
    const payload = KeyValue.encode({ key: "1", value: "no more" }).finish();
    peer.send(requestOf(1, { service: "s", method: "Count", payload }, 1));
    expect((await peer.next()).type).toBe(3);
    expect(await peer.response(1)).toMatchObject({ code: 10, message: "no more" });
    peer.send(requestOf(3, { service: "s", method: "Count", payload: hex("0aff") }, 1));
    expect((await peer.response(3)).code).toBe(13);
  });

  test("remote open, data, close without data: a client stream is answered by a response", async () => {
    peer.send(requestOf(1, { service: "s", method: "Sum" }, 2));
    for (const key of ["1", "20"]) peer.send(frameOf(1, 3, 0, message(key)));
    await Bun.sleep(5);
    expect(peer.frames).toEqual([]);
    peer.send(frameOf(1, 3, 5, nothing));
    expect(KeyValue.decode((await peer.response(1)).payload).key).toBe("21");
  });

  test("the last message may close the stream itself, and the request may carry the first", async () => {
    peer.send(requestOf(1, { service: "s", method: "Sum", payload: message("100") }, 2));
    peer.send(frameOf(1, 3, 0, message("1")), frameOf(1, 3, 1, message("20")));
    expect(KeyValue.decode((await peer.response(1)).payload).key).toBe("121");
    peer.send(requestOf(3, { service: "s", method: "Sum", payload: message("7") }, 1));
    expect(KeyValue.decode((await peer.response(3)).payload).key).toBe("7");
    peer.send(requestOf(5, { service: "s", method: "Sum" }, 1));
    expect(KeyValue.decode((await peer.response(5)).payload).key).toBe("0");
  });

  test("an empty data frame is a message, one with the no data flag is none", async () => {
    peer.send(requestOf(1, { service: "s", method: "Double" }, 2));
    peer.send(frameOf(1, 3, 4, nothing), frameOf(1, 3, 0, nothing), frameOf(1, 3, 4, hex("0a0178")));
    peer.send(frameOf(1, 3, 0, message("a")), frameOf(1, 3, 5, nothing));
    expect((await peer.next()).payload).toEqual(nothing);
    expect((await peer.next()).payload).toEqual(message("aa"));
    expect((await peer.next()).flags).toBe(5);
    expect(seen).toEqual(["", "a"]);
  });

  test("a caller that knows only unary calls reaches a client stream with one message", async () => {
    peer.send(requestOf(1, { service: "s", method: "Sum", payload: message("4") }));
    expect(KeyValue.decode((await peer.response(1)).payload).key).toBe("4");
    peer.send(requestOf(3, { service: "s", method: "Early" }));
    expect(KeyValue.decode((await peer.response(3)).payload).key).toBe("");
  });

  test("data after the close, and data on a server stream, end the stream with InvalidArgument", async () => {
    peer.send(requestOf(1, { service: "s", method: "Ignore" }, 2));
    peer.send(frameOf(1, 3, 5, nothing), frameOf(1, 3, 0, message("late")));
    expect(await peer.response(1)).toMatchObject({ code: 3, message: "data after the stream was closed" });
    await until(() => contexts[0]?.signal.aborted === true, "the handler is told");
    peer.send(requestOf(3, { service: "s", method: "Flood", payload: message("1000000") }, 1));
    peer.send(frameOf(3, 3, 0, message("x")));
    let last = await peer.next();
    while (last.type === 3) last = await peer.next();
    expect(Response.decode(last.payload).status?.code).toBe(3);
    peer.send(frameOf(3, 3, 0, message("x")));
    expect(await peer.response(3)).toMatchObject({ code: 3, message: "StreamID is no longer active" });
  });

  test("TT-2 an oversized data frame fails its stream, the connection goes on", async () => {
    peer.send(requestOf(1, { service: "s", method: "Double" }, 2));
    peer.send(frameOf(1, 3, 0, new Uint8Array((4 << 20) + 1)));
    expect((await peer.response(1)).code).toBe(8);
    await until(() => contexts[0]?.signal.aborted === true, "the handler is told");
    peer.send(requestOf(3, { service: "s", method: "Unary" }));
    expect((await peer.response(3)).code).toBe(0);
  });

  test("a message that cannot be decoded fails the handler that reads it", async () => {
    peer.send(requestOf(1, { service: "s", method: "Sum" }, 2), frameOf(1, 3, 0, hex("0aff")));
    expect((await peer.response(1)).code).toBe(13);
  });

  test("TT-6 a stream's deadline aborts it", async () => {
    peer.send(requestOf(1, { service: "s", method: "Double", timeoutNano: 20e6 }, 2));
    expect((await peer.response(1)).code).toBe(4);
    await until(() => server.inFlight === 0, "the handler has returned");
    expect(reports).toEqual([]);
  });
});

test("TT-6 what a stream's handler returns after its deadline is dropped", async () => {
  for (const [streamId, method] of [
    [1, "Leave"],
    [3, "Ignore"],
  ] as const) {
    peer.send(requestOf(streamId, { service: "s", method, timeoutNano: 10e6 }, 1));
    expect((await peer.response(streamId)).code).toBe(4);
  }
  gate.resolve();
  await until(() => server.inFlight === 0, "the handlers have returned");
  peer.send(requestOf(5, { service: "s", method: "Unary" }));
  expect((await peer.response(5)).code).toBe(0);
  expect(peer.frames).toEqual([]);
});

describe("streams by the client", () => {
  test("a server stream, whole and in order", async () => {
    expect(await all(await open("Count", { kind: "server", request: { key: "3" } }))).toEqual(["0", "1", "2"]);
    const long = await all(await open("Count", { kind: "server", request: { key: "20000" } }));
    expect(long).toEqual(Array.from({ length: 20_000 }, (_, i) => String(i)));
    expect(client.inFlight).toBe(0);
  });

  test("a server stream's error comes after its messages", async () => {
    const stream = await open("Count", { kind: "server", request: { key: "2", value: "over" } });
    expect((await stream.receive())?.key).toBe("0");
    expect((await stream.receive())?.key).toBe("1");
    expect(await rejection(stream.receive())).toMatchObject({ code: Code.Aborted, message: "over" });
    expect(await rejection(stream.receive())).toMatchObject({ code: Code.Aborted });
    expect(await rejection(open("Absent", { kind: "bidi" }).then((it) => it.receive()))).toMatchObject({ code: 12 });
    expect(await rejection(open("Count", { kind: "server" }))).toMatchObject({ code: 3 });
  });

  test("a client stream", async () => {
    const stream = await open("Sum", { kind: "client" });
    for (let i = 1; i <= 1000; i++) await stream.send({ key: String(i) });
    expect((await stream.finish()).key).toBe("500500");
    expect(await rejection(stream.send({ key: "1" }))).toMatchObject({ code: Code.FailedPrecondition });
    const empty = await open("Sum", { kind: "client" });
    expect((await empty.finish()).key).toBe("0");
  });

  test("a client stream whose server answers early", async () => {
    const stream = await open("Early", { kind: "client" });
    await stream.send({ key: "first" });
    expect((await stream.receive())?.key).toBe("first");
    expect(await stream.receive()).toBeUndefined();
    expect(await rejection(stream.send({ key: "more" }))).toMatchObject({ name: "TtrpcError" });
    stream.closeSend();
    expect(client.inFlight).toBe(0);
  });

  test("both ways at once, half closed by the client first", async () => {
    const stream = await open("Double", { kind: "bidi", metadata: { k: "v" } });
    await stream.send({ key: "a" });
    expect((await stream.receive())?.key).toBe("aa");
    await stream.send({ key: "b" });
    await stream.send({ key: "c" });
    stream.closeSend();
    stream.closeSend();
    expect(await all(stream)).toEqual(["bb", "cc"]);
    expect(contexts[0]?.metadata.get("k")).toBe("v");
    const many = await open("Double", { kind: "bidi" });
    const reading = all(many);
    for (let i = 0; i < 10_000; i++) await many.send({ key: String(i) });
    many.closeSend();
    expect((await reading).length).toBe(10_000);
  });

  test("a message above 4 MiB is refused by its sender, and the stream goes on", async () => {
    const stream = await open("Double", { kind: "bidi" });
    expect(await rejection(stream.send({ key: "x".repeat(5 << 20) }))).toMatchObject({ code: 8 });
    await stream.send({ key: "y" });
    expect((await stream.receive())?.key).toBe("yy");
    stream.cancel();
    expect(await rejection(stream.receive())).toMatchObject({ code: Code.Canceled });
    expect(await rejection(stream.send({ key: "z" }))).toMatchObject({ name: "TtrpcError" });
    await until(() => server.inFlight === 0, "the server's handler sees the end");
    expect(client.inFlight).toBe(0);
  });

  test("leaving the loop gives the stream up; what still comes is dropped", async () => {
    for await (const one of await open("Count", { kind: "server", request: { key: "50000" } })) {
      expect(one.key).toBe("0");
      break;
    }
    expect(client.inFlight).toBe(0);
    expect((await client.call("s", "Unary", KeyValue, KeyValue, { key: "k" }, { timeoutMs: 5000 })).key).toBe("k");
  });

  test("a deadline and an abort end a stream on both sides' readers", async () => {
    const late = await open("Ignore", { kind: "bidi", timeoutMs: 20 });
    expect(await rejection(late.receive())).toMatchObject({ code: Code.DeadlineExceeded });
    await until(() => contexts[0]?.signal.aborted === true, "the server's deadline fires too");
    const controller = new AbortController();
    const aborted = await open("Double", { kind: "bidi", signal: controller.signal });
    const reading = aborted.receive();
    controller.abort();
    expect(await rejection(reading)).toMatchObject({ code: Code.Canceled });
  });

  test("a closed connection ends streams on both sides", async () => {
    const stream = await open("Double", { kind: "bidi" });
    await stream.send({ key: "a" });
    await stream.receive();
    const reading = stream.receive();
    client.close();
    expect(await rejection(reading)).toMatchObject({ code: Code.Unavailable });
    await until(() => server.inFlight === 0, "the handler has returned");
    expect(contexts[0]?.signal.aborted).toBe(true);
  });

  test("a handler that neither awaits nor catches harms nobody", async () => {
    const unhandled: unknown[] = [];
    const note = (error: unknown) => unhandled.push(error);
    process.on("unhandledRejection", note);
    try {
      const stream = await open("Careless", { kind: "bidi", timeoutMs: 20 });
      expect(await rejection(stream.receive())).toMatchObject({ code: Code.DeadlineExceeded });
      await until(() => contexts[0]?.signal.aborted === true, "the server's deadline");
      gate.resolve();
      await until(() => server.inFlight === 0, "the handler has returned");
      await Bun.sleep(10);
      expect(unhandled).toEqual([]);
    } finally {
      process.off("unhandledRejection", note);
    }
  });
});

describe("a raw server's streams", () => {
  let raw: RawServer;
  let wire: RawPeer;
  let direct: Client;

  beforeEach(async () => {
    raw = new RawServer();
    direct = await Client.connect({ unix: raw.unix });
    wire = await raw.peer();
  });

  afterEach(async () => {
    direct.close();
    await until(() => wire.isClosed, "closed");
    raw.stop();
  });

  test("the frames of each kind of stream, exactly", async () => {
    const down = await direct.stream("s", "m", KeyValue, KeyValue, { kind: "server", request: { key: "k" } });
    expect(await wire.next()).toEqual({ streamId: 1, type: 1, flags: 1, payload: hex("0a0173 12016d 1a030a016b") });
    const up = await direct.stream("s", "m", KeyValue, KeyValue, { kind: "client" });
    expect(await wire.next()).toEqual({ streamId: 3, type: 1, flags: 2, payload: hex("0a0173 12016d") });
    await up.send({ key: "k" });
    expect(await wire.next()).toEqual({ streamId: 3, type: 3, flags: 0, payload: hex("0a016b") });
    await up.send({});
    expect(await wire.next()).toEqual({ streamId: 3, type: 3, flags: 0, payload: nothing });
    up.closeSend();
    expect(await wire.next()).toEqual({ streamId: 3, type: 3, flags: 5, payload: nothing });
    wire.send(frameOf(3, 2, 0, hex("0a00")));
    expect((await up.finish()).key).toBe("");
    // A last message may come with the close; a final empty response is no message.
    wire.send(frameOf(1, 3, 0, nothing), frameOf(1, 3, 1, hex("0a0161")), frameOf(1, 3, 0, hex("0a0162")));
    expect(await all(down)).toEqual(["", "a"]);
    const ended = await direct.stream("s", "m", KeyValue, KeyValue, { kind: "server", request: {} });
    await wire.next();
    wire.send(frameOf(5, 3, 0, hex("0a0163")), frameOf(5, 2, 0, hex("0a00")));
    expect(await all(ended)).toEqual(["c"]);
    expect(direct.inFlight).toBe(0);
  });

  test("a stream in answer to a client stream is a failure; an end without a response too", async () => {
    const first = await direct.stream("s", "m", KeyValue, KeyValue, { kind: "client" });
    wire.send(frameOf(1, 3, 0, hex("0a0161")));
    expect(await rejection(first.finish())).toMatchObject({ code: Code.Internal });
    const second = await direct.stream("s", "m", KeyValue, KeyValue, { kind: "bidi" });
    wire.send(frameOf(3, 3, 5, nothing));
    expect(await rejection(second.finish())).toMatchObject({ code: Code.Internal });
  });

  test("TT-2 an oversized data frame fails its stream", async () => {
    const stream = await direct.stream("s", "m", KeyValue, KeyValue, { kind: "bidi" });
    wire.send(frameOf(1, 3, 0, new Uint8Array((4 << 20) + 1)));
    expect(await rejection(stream.receive())).toMatchObject({ code: Code.ResourceExhausted });
  });
});

describe("backpressure", () => {
  test("a server's send waits while the client does not read the connection, and goes on after", async () => {
    peer.pause();
    peer.send(requestOf(1, { service: "s", method: "Flood", payload: message("200") }, 1));
    await Bun.sleep(100);
    const stuck = sent;
    expect(stuck).toBeWithin(1, 60);
    await Bun.sleep(50);
    expect(sent).toBe(stuck);
    peer.resume();
    await until(() => sent === 200, "all are sent");
  });

  test("a send that waits is woken by the end of its call", async () => {
    peer.pause();
    peer.send(requestOf(1, { service: "s", method: "Flood", payload: message("200"), timeoutNano: 100e6 }, 1));
    await until(() => contexts[0]?.signal.aborted === true, "the deadline");
    await until(() => server.inFlight === 0, "the handler has returned");
    expect(sent).toBeLessThan(200);
  });

  test("a client's stream whose reader is behind slows the sender down, and loses nothing", async () => {
    const stream = await open("Flood", { kind: "server", request: { key: "300" } });
    let count = 0;
    for await (const one of stream) {
      expect(one.value?.length).toBe(100_000);
      if (count++ < 20) await Bun.sleep(5);
      expect(sent - count).toBeLessThan(80);
    }
    expect(count).toBe(300);
  });

  test("a stream whose handler never reads is failed within a second or so, the others of the connection go on", async () => {
    const stream = await open("Ignore", { kind: "bidi" });
    for (let i = 0; i < 200; i++) void stream.send({ key: String(i) });
    const started = performance.now();
    const call = client.call("s", "Unary", KeyValue, KeyValue, { key: "k" }, { timeoutMs: 3000 });
    expect((await call).key).toBe("k");
    expect(performance.now() - started).toBeLessThan(2000);
    expect(await rejection(stream.receive())).toMatchObject({ code: Code.ResourceExhausted });
    expect(contexts[0]?.signal.aborted).toBe(true);
    const again = performance.now();
    await client.call("s", "Unary", KeyValue, KeyValue, {});
    expect(performance.now() - again).toBeLessThan(500);
  }, 10_000);

  test("a handler that returns with unread messages gives the connection free at once", async () => {
    const stream = await open("Leave", { kind: "client" });
    for (let i = 0; i < 200; i++) void stream.send({ key: String(i) });
    await Bun.sleep(100);
    const started = performance.now();
    gate.resolve();
    expect((await stream.finish()).key).toBe("left");
    await client.call("s", "Unary", KeyValue, KeyValue, {});
    expect(performance.now() - started).toBeLessThan(500);
  });

  test("a handler that reads late, but in time, gets everything in order", async () => {
    const stream = await open("Ignore", { kind: "bidi" });
    for (let i = 0; i < 500; i++) void stream.send({ key: String(i) });
    stream.closeSend();
    await Bun.sleep(300);
    gate.resolve();
    expect(await stream.receive()).toBeUndefined();
    expect(seen).toEqual(Array.from({ length: 500 }, (_, i) => String(i)));
  });

  test("a client's stream that nobody reads is failed, the other calls go on", async () => {
    const stream = await open("Flood", { kind: "server", request: { key: "300" } });
    const started = performance.now();
    await until(() => sent > 20, "the stream is full");
    await Bun.sleep(50);
    await client.call("s", "Unary", KeyValue, KeyValue, {}, { timeoutMs: 3000 });
    expect(performance.now() - started).toBeLessThan(2000);
    await Bun.sleep(1000);
    expect(await rejection(all(stream))).toMatchObject({ code: Code.ResourceExhausted });
    await until(() => sent === 300, "the server could send on");
  }, 10_000);
});

test("a request's metadata, deadline and flags stand in a stream's request", async () => {
  const raw = new RawServer();
  const direct = await Client.connect({ unix: raw.unix });
  const wire = await raw.peer();
  const options = { kind: "bidi", timeoutMs: 5, metadata: { a: "b" } } as const;
  const stream = await direct.stream("s", "m", KeyValue, KeyValue, options);
  const request = Request.decode((await wire.next()).payload);
  expect(Number(request.timeoutNano)).toBe(5e6);
  expect(request.metadata).toMatchObject([{ key: "a", value: "b" }]);
  expect(await rejection(stream.receive())).toMatchObject({ code: Code.DeadlineExceeded });
  // Giving up closes this side, so that the server's handler sees the end.
  expect(await wire.next()).toMatchObject({ streamId: 1, type: 3, flags: 5 });
  direct.close();
  raw.stop();
});
