/**
 * Frames recorded between a client and a server of Go's ttrpc 1.2.4, one of each kind of call. Our server answers Go's
 * client with the frames of Go's server, and our client says to Go's server what Go's client said.
 */

import { expect, test } from "bun:test";
import { ttrpc } from "../../../../proto/gen/ttrpc.js";
import {
  bidi,
  Client,
  Code,
  clientStream,
  Server,
  serverStream,
  TtrpcError,
  unary,
} from "../../../../proto/ttrpc/index.ts";
import { rejection } from "../../../lib/outcome.ts";
import recorded from "./go-streams.json";
import { type Frame, frameOf, hex, RawPeer, RawServer, socketName, until } from "./wire.ts";

const { KeyValue, Response } = ttrpc;

interface Recorded {
  readonly from: string;
  readonly frame: Frame;
}

const session: Recorded[] = recorded.frames.map(({ from, stream, type, flags, payload }) => ({
  from,
  frame: { streamId: stream, type, flags, payload: hex(payload) },
}));

/** A frame as text; of a response what it says, since Go leaves an OK status out and we do not. */
function text({ streamId, type, flags, payload }: Frame): string {
  const head = `${streamId} ${type} ${flags} `;
  if (type !== 2) return head + Buffer.from(payload).toString("hex");
  const { status, payload: body } = Response.decode(payload);
  return `${head}${status?.code ?? 0} ${status?.message ?? ""} ${Buffer.from(body ?? []).toString("hex")}`;
}

const framesOf = (from: string) => session.filter((one) => one.from === from).map((one) => text(one.frame));

test("our server answers Go's client as Go's server does", async () => {
  const server = new Server();
  server.register("s", {
    Unary: unary(KeyValue, KeyValue, ({ key }, { metadata }) => ({ key: key ?? "", value: metadata.get("k") ?? "" })),
    Count: serverStream(KeyValue, KeyValue, async ({ key, value }, responses) => {
      for (let i = 0; i < Number(key); i++) await responses.send({ key: String(i) });
      if (value) throw new TtrpcError(Code.Aborted, value);
    }),
    Sum: clientStream(KeyValue, KeyValue, async (requests) => {
      let sum = 0;
      for await (const { key } of requests) sum += Number(key);
      return { key: String(sum) };
    }),
    Double: bidi(KeyValue, KeyValue, async (requests, responses) => {
      for await (const { key } of requests) await responses.send({ key: `${key}${key}` });
    }),
  });
  const unix = socketName();
  server.listen({ unix });
  const peer = await RawPeer.connect(unix);
  const answers: string[] = [];
  for (const { from, frame } of session) {
    if (from === "client") peer.send(frameOf(frame.streamId, frame.type, frame.flags, frame.payload));
    else answers.push(text(await peer.next()));
  }
  expect(answers).toEqual(framesOf("server"));
  expect(peer.frames).toEqual([]);
  peer.close();
  await server.shutdown();
});

test("our client speaks to Go's server as Go's client does, and understands it", async () => {
  const raw = new RawServer();
  const client = await Client.connect({ unix: raw.unix });
  const peer = await raw.peer();
  const said: string[] = [];
  const script = (async () => {
    for (const { from, frame } of session) {
      if (from === "client") said.push(text(await peer.next()));
      else peer.send(frameOf(frame.streamId, frame.type, frame.flags, frame.payload));
    }
  })();
  const stream = (method: string, kind: "client" | "server" | "bidi", request?: ttrpc.KeyValue.$Properties) =>
    client.stream("s", method, KeyValue, KeyValue, request === undefined ? { kind } : { kind, request });

  const first = await client.call("s", "Unary", KeyValue, KeyValue, { key: "u" }, { metadata: { k: "v" } });
  expect(first).toMatchObject({ key: "u", value: "v" });
  const absent = client.call("s", "Absent", KeyValue, KeyValue, {});
  expect(await rejection(absent)).toMatchObject({ code: Code.Unimplemented, message: "method Absent" });

  const keys: (string | null | undefined)[] = [];
  for await (const { key } of await stream("Count", "server", { key: "3" })) keys.push(key);
  expect(keys).toEqual(["0", "1", "2"]);
  const failing = await stream("Count", "server", { key: "1", value: "over" });
  expect((await failing.receive())?.key).toBe("0");
  expect(await rejection(failing.receive())).toMatchObject({ code: Code.Aborted, message: "over" });

  const sum = await stream("Sum", "client");
  for (const key of ["1", "2", "3"]) await sum.send({ key });
  expect((await sum.finish()).key).toBe("6");

  const double = await stream("Double", "bidi");
  await double.send({ key: "a" });
  expect((await double.receive())?.key).toBe("aa");
  await double.send({});
  expect((await double.receive())?.key).toBe("");
  double.closeSend();
  expect(await double.receive()).toBeUndefined();

  await script;
  expect(said).toEqual(framesOf("client"));
  client.close();
  await until(() => peer.isClosed, "closed");
  raw.stop();
});
