/**
 * The server under test, in a process of its own, so that its memory and descriptors are its alone.
 *
 * Usage: bun ttrpc-fuzz-server.ts SOCKET; ends when standard input does.
 */

import { heapStats } from "bun:jsc";
import { readdirSync } from "node:fs";
import { ttrpc } from "../../proto/gen/ttrpc.js";
import { bidi, Code, clientStream, Server, serverStream, TtrpcError, unary } from "../../proto/ttrpc/index.ts";

const { KeyValue } = ttrpc;
const unix = process.argv[2];
if (unix === undefined) throw new Error("usage: ttrpc-fuzz-server.ts SOCKET");

const server = new Server();
server.register("f", {
  Echo: unary(KeyValue, KeyValue, (request) => ({ key: request.key })),
  Later: unary(KeyValue, KeyValue, async (request) => {
    await Bun.sleep(0);
    return { key: request.key };
  }),
  // Ends only by its deadline or its connection's end.
  Hang: unary(KeyValue, KeyValue, (_request, context) => {
    const over = Promise.withResolvers<ttrpc.KeyValue.$Properties>();
    context.signal.addEventListener("abort", () => over.reject(context.signal.reason), { once: true });
    return over.promise;
  }),
  Fail: unary(KeyValue, KeyValue, (): ttrpc.KeyValue.$Properties => {
    throw new TtrpcError(Code.FailedPrecondition, "as told");
  }),
  Down: serverStream(KeyValue, KeyValue, async (request, responses) => {
    for (let i = 0; i < 3; i++) await responses.send({ key: request.key ?? "" });
  }),
  Up: clientStream(KeyValue, KeyValue, async (requests) => {
    let count = 0;
    for await (const _ of requests) count++;
    return { key: String(count) };
  }),
  Both: bidi(KeyValue, KeyValue, async (requests, responses) => {
    for await (const request of requests) await responses.send({ key: request.key ?? "" });
  }),
  /** Figures of this process: bytes of heap, connections, calls and descriptors. */
  Figures: unary(KeyValue, KeyValue, () => {
    Bun.gc(true);
    const { heapSize, objectCount } = heapStats();
    const fds = readdirSync("/proc/self/fd").length;
    const { connections, inFlight } = server;
    return { value: JSON.stringify({ heapSize, objectCount, fds, connections, inFlight }) };
  }),
});
server.listen({ unix });
console.log("ready");
await Bun.stdin.text();
await server.shutdown({ graceMs: 100 });
process.exit(0);
