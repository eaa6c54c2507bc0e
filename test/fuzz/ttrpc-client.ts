/** A server that answers rubbish, against our client: every call settles, and the next client's call is answered. */

import { ttrpc } from "../../proto/gen/ttrpc.js";
import { Client, TtrpcError } from "../../proto/ttrpc/index.ts";
import { frameOf, type RawPeer, RawServer } from "../unit/proto/ttrpc/wire.ts";
import { Random } from "./ttrpc-random.ts";

const { KeyValue, Response } = ttrpc;

/** Frames that a broken server may send instead of, or before, an answer. */
function rubbish(random: Random, streamId: number): Uint8Array {
  const response = Response.encode({
    status: { code: random.below(20), message: "m" },
    payload: random.bytes(5),
  }).finish();
  switch (random.below(7)) {
    case 0:
      return frameOf(streamId, 2, random.below(256), random.mutate(response));
    case 1:
      return frameOf(random.u32(), 2, 0, response);
    case 2:
      return frameOf(streamId, 3, random.below(256), random.bytes(random.below(50)));
    case 3:
      return frameOf(streamId, random.below(256), random.below(256), random.bytes(random.below(50)));
    case 4:
      return frameOf(streamId, 1, 0, response);
    case 5:
      return random.oneIn(500) ? frameOf(streamId, 2, 0, new Uint8Array((4 << 20) + 1)) : new Uint8Array(0);
    default:
      return frameOf(streamId, 2, 0, random.bytes(random.below(100)));
  }
}

/** Answers each request of the peer with rubbish, then with a good answer, until `closed`. */
async function answer(peer: RawPeer, random: Random, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const { streamId } = await peer.next(5000);
    const parts = Array.from({ length: random.below(4) }, () => rubbish(random, streamId));
    parts.push(frameOf(streamId, 2, 0, Response.encode({ status: {}, payload: new Uint8Array(0) }).finish()));
    for (const chunk of random.split(Buffer.concat(parts))) peer.send(chunk);
  }
}

/**
 * Makes `calls` calls or more, on a new connection for every hundred.
 * @throws Error when a call does not settle in time, or is rejected with something else than a TtrpcError
 */
export async function fuzzClient(seed: number, calls: number): Promise<number> {
  const random = new Random(seed);
  const server = new RawServer();
  let done = 0;
  try {
    for (let round = 0; done < calls; round++) {
      const client = await Client.connect({ unix: server.unix }, { timeoutMs: 5000 });
      const peer = await server.peer();
      const count = 100;
      const answering = answer(peer, random, count);
      const settled = await Promise.allSettled(
        Array.from({ length: count }, () => client.call("s", "m", KeyValue, KeyValue, {}, { timeoutMs: 5000 })),
      );
      await answering;
      for (const outcome of settled) {
        if (outcome.status === "fulfilled") continue;
        const isTimeout =
          outcome.reason instanceof TtrpcError && outcome.reason.message === "context deadline exceeded";
        if (!(outcome.reason instanceof TtrpcError) || isTimeout) {
          throw new Error(`seed ${seed}, round ${round}: a call ended with ${outcome.reason}`);
        }
      }
      if (client.inFlight !== 0) throw new Error(`seed ${seed}, round ${round}: ${client.inFlight} calls are kept`);
      if (random.oneIn(2)) {
        const waiting = client.call("s", "m", KeyValue, KeyValue, {}).catch((error: unknown) => error);
        peer.send(random.bytes(random.below(5)));
        peer.close();
        const outcome = await waiting;
        if (!(outcome instanceof TtrpcError)) throw new Error(`seed ${seed}, round ${round}: ended with ${outcome}`);
      }
      client.close();
      await client.closed;
      done += count;
    }
  } finally {
    server.stop();
  }
  return done;
}
