/** Faults of the ttrpc wire. */

import { frame, frameType, headerSize, readFields } from "../../conformance/rig/wire.ts";
import type { Fault, Wire } from "../fault.ts";
import { FrameCutter, readHeader } from "../frames.ts";
import { Reply, type RpcCall } from "../rpc.ts";

/** What a fault keeps of one connection. */
function kept<T>({ served, nth }: Wire, make: () => T): T {
  const known = served.memory.get(`wire ${nth}`) as T | undefined;
  const value = known ?? make();
  if (known === undefined) served.memory.set(`wire ${nth}`, value);
  return value;
}

function killShim({ served }: Wire): void {
  process.kill(served.realPid, "SIGKILL");
}

/** An answer where there should be a refusal. */
function connected({ wire }: RpcCall): Reply {
  return Reply.of("Connect", { shimPid: wire.served.shimPid });
}

export const wireFaults: readonly Fault[] = [
  {
    name: "responses have a flag",
    by: ["TT-1.response"],
    frame: (found) => {
      const changed = found.slice();
      changed[9] = 1;
      return [changed];
    },
  },
  { name: "each response comes twice", by: ["TT-1.response", "SK-5.many-calls"], frame: (found) => [found, found] },
  {
    name: "an empty data frame follows each response",
    by: ["TT-1.response"],
    also: ["SK-5.many-calls"],
    frame: (found) => [found, frame(readHeader(found).stream, frameType.data, new Uint8Array(), 4)],
  },
  {
    name: "on a second connection responses have another stream id",
    by: ["TT-1.response", "TT-1.joined"],
    also: ["TT-*", "SK-5.*"],
    timeout: 6,
    frame: (found, { nth }) => {
      const { stream, type } = readHeader(found);
      return [nth === 1 ? found : frame(stream + 2000, type, found.slice(headerSize))];
    },
  },
  {
    name: "a header that comes in pieces is taken for the end",
    by: ["TT-1.split"],
    chunk: (bytes, wire) => {
      if (bytes.length >= headerSize) return true;
      wire.close();
      return false;
    },
  },
  {
    name: "of frames that come at once the first alone is answered",
    by: ["TT-1.joined", "SK-5.many-calls"],
    also: ["SK-5.*"],
    timeout: 7,
    chunk: (bytes, wire) => {
      for (const found of new FrameCutter().push(bytes).slice(1)) {
        kept(wire, () => new Set<number>()).add(readHeader(found).stream);
      }
      return true;
    },
    rpc: async (call, next) => (kept(call.wire, () => new Set<number>()).has(call.stream) ? undefined : await next()),
  },
  {
    name: "a connection that ends within a frame ends the shim",
    by: ["TT-1.half"],
    chunk: (bytes, wire) => {
      kept(wire, () => new FrameCutter()).push(bytes);
      return true;
    },
    closed: (wire) => {
      if (kept(wire, () => new FrameCutter()).isWithin) killShim(wire);
    },
  },
  {
    name: "requests of more than a megabyte are refused",
    by: ["TT-2.largest"],
    rpc: async (call, next) => (call.payload.length > 1 << 20 ? Reply.refusal(8) : await next()),
  },
  {
    name: "an oversized request ends the connection",
    by: ["TT-2.oversized"],
    timeout: 12,
    frame: (found, wire) => {
      if (Reply.read(found.slice(headerSize)).code !== 8) return [found];
      wire.close();
      return [];
    },
  },
  {
    name: "even stream ids are taken",
    by: ["TT-3.even"],
    rpc: async (call, next) => (call.stream % 2 === 0 ? connected(call) : await next()),
  },
  {
    name: "stream ids that go down are taken",
    by: ["TT-3.decreasing"],
    rpc: async (call, next) => {
      const last = kept(call.wire, () => ({ stream: 0 }));
      if (call.stream < last.stream) return connected(call);
      last.stream = call.stream;
      return await next();
    },
  },
  {
    name: "large stream ids are refused",
    by: ["TT-3.gap"],
    rpc: async (call, next) => (call.stream > 1 << 30 ? Reply.refusal(3) : await next()),
  },
  {
    name: "an unknown type of frame ends the connection",
    by: ["TT-3.unknown-type"],
    timeout: 6,
    chunk: (bytes, wire) => {
      if (bytes[8] !== 0x7f) return true;
      wire.close();
      return false;
    },
  },
  {
    name: "a request that is no protobuf ends the shim",
    by: ["TT-4.garbage"],
    chunk: (bytes, wire) => {
      if (bytes[headerSize] === 0xff && bytes[8] === frameType.request) killShim(wire);
      return true;
    },
  },
  {
    name: "a payload that is no protobuf ends the connection",
    by: ["TT-4.payload-garbage"],
    timeout: 6,
    rpc: async (call, next) => {
      const reply = await next();
      if (!call.is("State") || ![2, 3, 13].includes(reply.code)) return reply;
      call.wire.close();
      return undefined;
    },
  },
  {
    name: "unknown fields are refused",
    by: ["TT-4.unknown-fields"],
    also: ["TT-2.largest"],
    rpc: async (call, next) => {
      const unknown = call.is("Connect") && readFields(call.payload).some(({ number }) => number > 50);
      return unknown ? Reply.refusal(3) : await next();
    },
  },
  {
    name: "a request without a payload is refused",
    by: ["TT-4.empty-payload"],
    rpc: async (call, next) => (call.is("Connect") && call.payload.length === 0 ? Reply.refusal(3) : await next()),
  },
  {
    name: "an unknown service is NotFound",
    by: ["TT-5.service"],
    rpc: async (call, next) => {
      const reply = await next();
      return reply.code === 12 && call.service === "no.such.Service" ? Reply.refusal(5) : reply;
    },
  },
  {
    name: "an unknown method is Unknown",
    by: ["TT-5.method"],
    rpc: async (call, next) => {
      const reply = await next();
      return reply.code === 12 && call.service.endsWith(".Task") ? Reply.refusal(2) : reply;
    },
  },
  {
    name: "Task version 2 is not served",
    by: ["TT-7.version-2"],
    also: ["ST-4.*", "ST-11.*"],
    answer: (answer, { action }) => {
      const text = new TextDecoder().decode(answer.stdout);
      if (action !== "start" || !text.startsWith("unix://")) return;
      const announced = { version: 3, address: text.trim(), protocol: "ttrpc" };
      answer.stdout = new TextEncoder().encode(JSON.stringify(announced));
    },
    rpc: async (call, next) => (call.service === "containerd.task.v2.Task" ? Reply.refusal(12) : await next()),
  },
  {
    name: "the Sandbox service is Unknown",
    by: ["TT-7.sandbox"],
    rpc: async (call, next) => (call.service.endsWith(".Sandbox") ? Reply.refusal(2) : await next()),
  },
  {
    name: "messages of errors have several lines",
    by: ["TT-8.not-found"],
    rpc: async (_, next) => {
      const reply = await next();
      return reply.code === 0 ? reply : Reply.refusal(reply.code, `${reply.message}\n  at somewhere`);
    },
  },
  {
    name: "after a Wait that timed out no other is answered",
    by: ["TT-6.wait"],
    timeout: 5,
    rpc: async (call, next) => {
      const reply = next();
      if (!call.is("Wait")) return await reply;
      const { memory } = call.wire.served;
      if (call.timeoutMs !== undefined) memory.set("cut", true);
      return memory.has("cut") && call.timeoutMs === undefined ? undefined : await reply;
    },
  },
  {
    name: "calls of one connection are served one after the other",
    by: ["SK-5.concurrent"],
    also: ["T-WAI-*", "T-STA-6.*"],
    timeout: 4,
    rpc: async (call, next) => {
      const queue = kept(call.wire, () => ({ last: Promise.resolve<unknown>(undefined) }));
      const reply = queue.last.then(next);
      queue.last = reply;
      return await reply;
    },
  },
  {
    name: "the fiftieth call of a connection is never answered",
    by: ["SK-5.many-calls"],
    also: ["T-STT-4", "PR-*", "LK-*"],
    timeout: 6,
    rpc: async (call, next) => (call.stream === 99 ? undefined : await next()),
  },
  {
    name: "a client that vanishes takes the shim along",
    by: ["SK-5.vanished"],
    rpc: async (call, next) => {
      if (call.is("Wait")) kept(call.wire, () => ({ waits: true }));
      return await next();
    },
    closed: (wire) => {
      if (wire.served.memory.has(`wire ${wire.nth}`)) killShim(wire);
    },
  },
  {
    name: "no more than ten connections are served",
    by: ["SK-5.connections"],
    timeout: 4,
    rpc: async (call, next) => (call.wire.nth > 10 ? undefined : await next()),
  },
  {
    name: "Task version 3 pauses nothing",
    by: ["TT-7.version-3"],
    rpc: async (call, next) =>
      call.service.includes(".v3.") && call.method === "Pause" ? new Reply(new Uint8Array()) : await next(),
  },
];
