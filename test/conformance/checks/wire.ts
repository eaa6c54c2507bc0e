/** The ttrpc wire (contract 1.7), with frames made by hand. */

import { containerd } from "../../../proto/gen/shim.js";
import { codes, codeText, equal, holds, refused, stillWaits } from "../assert.ts";
import type { Section } from "../check.ts";
import type { Connection } from "../rig/connection.ts";
import type { Context, Shim } from "../rig/context.ts";
import { Task } from "../rig/task.ts";
import { until } from "../rig/wait.ts";
import {
  bytesField,
  concat,
  decodeResponse,
  encodeRequest,
  type Frame,
  frame,
  frameType,
  header,
  headerSize,
  maxPayload,
  StatusError,
  varintField,
} from "../rig/wire.ts";

const protocol = "ttrpc/PROTOCOL.md";
const server = "ttrpc/server.go";

/** A shim, and a Connect request for it in a request envelope. */
async function begin(t: Context): Promise<{ shim: Shim; wire: Connection; request: Uint8Array }> {
  const shim = await t.start(t.bundle());
  const wire = await t.dial(shim.found.address);
  const payload = bytesField(1, shim.id);
  return { shim, wire, request: encodeRequest({ service: shim.task.service, method: "Connect", payload }) };
}

/** Asserts that a frame is the answer to Connect. */
function expectConnect(shim: Shim, found: Frame): void {
  const answer = containerd.task.v2.ConnectResponse.decode(decodeResponse(found.payload));
  equal("the shim_pid of Connect", answer.shimPid, shim.pid);
}

/** Asserts that a frame is a status with one of the codes. */
function expectStatus(found: Frame, ...wanted: number[]): void {
  const expected = `a status with ${wanted.map(codeText).join(" or ")}`;
  try {
    decodeResponse(found.payload);
  } catch (error) {
    if (!(error instanceof StatusError)) throw error;
    holds(expected, wanted.includes(error.code), `${codeText(error.code)}: ${error.message}`);
    return;
  }
  holds(expected, false, "an answer");
}

/** Asserts that the shim still serves, on a connection of its own. */
async function stillServes(shim: Shim): Promise<void> {
  equal("the shim_pid of Connect afterwards", (await shim.task.connect(shim.id)).shimPid, shim.pid);
}

export const wire: Section = {
  name: "ttrpc wire",
  checks: [
    {
      id: "TT-1.response",
      level: "must",
      title: "A response is one frame of type 2 on the stream of its request, with no flags.",
      source: protocol,
      body: async (t) => {
        const { shim, wire, request } = await begin(t);
        wire.send(frame(1, frameType.request, request));
        const found = await wire.response(1);
        equal("the flags", found.flags, 0);
        expectConnect(shim, found);
        equal("the number of frames", wire.frames.length, 1);
      },
    },
    {
      id: "TT-1.split",
      level: "must",
      title: "A frame may come byte by byte, with pauses.",
      source: "ttrpc/channel.go (io.ReadFull)",
      body: async (t) => {
        const { shim, wire, request } = await begin(t);
        for (const [at, byte] of frame(1, frameType.request, request).entries()) {
          wire.send(new Uint8Array([byte]));
          // Long enough within the header, and once behind it, for the shim to read what has come so far.
          await Bun.sleep(at <= headerSize ? 5 : 0);
        }
        expectConnect(shim, await wire.response(1));
      },
    },
    {
      id: "TT-1.joined",
      level: "must",
      title: "Several frames may come at once.",
      source: "ttrpc/channel.go",
      body: async (t) => {
        const { shim, wire, request } = await begin(t);
        wire.send(concat(...[1, 3, 5, 7].map((id) => frame(id, frameType.request, request))));
        for (const id of [1, 3, 5, 7]) expectConnect(shim, await wire.response(id));
      },
    },
    {
      id: "TT-1.half",
      level: "must",
      title: "A connection that ends within a frame does not disturb another.",
      source: server,
      body: async (t) => {
        const { shim, wire, request } = await begin(t);
        wire.send(frame(1, frameType.request, request).subarray(0, 17));
        wire.close();
        await Bun.sleep(50);
        await stillServes(shim);
      },
    },
    {
      id: "TT-2.largest",
      level: "must",
      title: "A request of 4 MiB is taken.",
      source: "ttrpc/channel.go (messageLengthMax)",
      body: async (t) => {
        const { shim, wire } = await begin(t);
        const parts = (length: number): Uint8Array => {
          // An unknown field makes it long.
          const payload = concat(bytesField(1, shim.id), bytesField(999, new Uint8Array(length)));
          return encodeRequest({ service: shim.task.service, method: "Connect", payload });
        };
        const over = parts(maxPayload - 200).length - maxPayload;
        const request = parts(maxPayload - 200 - over);
        equal("the length of the request", request.length, maxPayload);
        wire.send(frame(1, frameType.request, request));
        expectConnect(shim, await wire.response(1, 10_000));
      },
    },
    {
      id: "TT-2.oversized",
      level: "must",
      title: "A larger request is answered with ResourceExhausted, and the connection lives on.",
      source: "ttrpc/channel.go (recv)",
      body: async (t) => {
        const { shim, wire, request } = await begin(t);
        wire.send(concat(header(maxPayload + 1, 1, frameType.request), new Uint8Array(maxPayload + 1)));
        expectStatus(await wire.response(1, 10_000), 8);
        wire.send(frame(3, frameType.request, request));
        expectConnect(shim, await wire.response(3));
      },
    },
    {
      id: "TT-3.even",
      level: "must",
      title: "An even stream id is answered with InvalidArgument.",
      source: server,
      body: async (t) => {
        const { wire, request } = await begin(t);
        wire.send(frame(2, frameType.request, request));
        expectStatus(await wire.response(2), ...codes.invalid);
      },
    },
    {
      id: "TT-3.decreasing",
      level: "must",
      title: "A stream id that does not increase is answered with InvalidArgument.",
      source: server,
      body: async (t) => {
        const { shim, wire, request } = await begin(t);
        wire.send(frame(7, frameType.request, request));
        expectConnect(shim, await wire.response(7));
        wire.send(frame(5, frameType.request, request));
        expectStatus(await wire.response(5), ...codes.invalid);
      },
    },
    {
      id: "TT-3.gap",
      level: "must",
      title: "Stream ids may leave gaps.",
      source: protocol,
      body: async (t) => {
        const { shim, wire, request } = await begin(t);
        for (const id of [1, 101, 4_000_000_001]) {
          wire.send(frame(id, frameType.request, request));
          expectConnect(shim, await wire.response(id));
        }
      },
    },
    {
      id: "TT-3.unknown-type",
      level: "must",
      title: "A frame of an unknown type is ignored.",
      source: server,
      body: async (t) => {
        const { shim, wire, request } = await begin(t);
        wire.send(frame(1, 0x7f, new TextEncoder().encode("who knows")));
        wire.send(frame(3, frameType.request, request));
        expectConnect(shim, await wire.response(3));
      },
    },
    {
      id: "TT-4.garbage",
      level: "must",
      title: "A request that is no protobuf is answered with a status, and the shim lives on.",
      source: server,
      body: async (t) => {
        const { shim, wire, request } = await begin(t);
        wire.send(frame(1, frameType.request, new Uint8Array(64).fill(0xff)));
        // Go's server answers; one that hangs up has at least told the caller.
        await until("an answer, or the end of the connection", () => wire.frames.length > 0 || !wire.isOpen);
        if (wire.frames[0] !== undefined) expectStatus(wire.frames[0], 2, 3, 13);
        const other = await t.dial(shim.found.address);
        other.send(frame(1, frameType.request, request));
        expectConnect(shim, await other.response(1));
      },
    },
    {
      id: "TT-4.payload-garbage",
      level: "must",
      title: "A payload that is no protobuf is answered with a status, and the connection lives on.",
      source: "ttrpc/services.go",
      body: async (t) => {
        const { shim, wire, request } = await begin(t);
        const { service } = shim.task;
        const payload = new Uint8Array([0x0a, 0xff, 0xff]);
        wire.send(frame(1, frameType.request, encodeRequest({ service, method: "State", payload })));
        expectStatus(await wire.response(1), 2, 3, 13);
        wire.send(frame(3, frameType.request, request));
        expectConnect(shim, await wire.response(3));
      },
    },
    {
      id: "TT-4.unknown-fields",
      level: "must",
      title: "Fields that the shim does not know, in the envelope and in the message, are skipped.",
      source: "protobuf",
      body: async (t) => {
        const { shim, wire } = await begin(t);
        const payload = concat(bytesField(1, shim.id), varintField(77, 5), bytesField(78, "later"));
        const request = encodeRequest({ service: shim.task.service, method: "Connect", payload });
        wire.send(frame(1, frameType.request, concat(request, bytesField(99, "later"))));
        expectConnect(shim, await wire.response(1));
      },
    },
    {
      id: "TT-4.empty-payload",
      level: "must",
      title: "A request without a payload is one with no fields.",
      source: "ttrpc/services.go",
      body: async (t) => {
        const { shim, wire } = await begin(t);
        const request = concat(bytesField(1, shim.task.service), bytesField(2, "Connect"));
        wire.send(frame(1, frameType.request, request));
        expectConnect(shim, await wire.response(1));
      },
    },
    {
      id: "TT-5.service",
      level: "must",
      title: "A service that there is none of is answered with Unimplemented.",
      source: "ttrpc/services.go, core/runtime/v2/task_manager.go",
      body: async (t) => {
        const { shim } = await begin(t);
        const call = shim.task.connection.call({
          service: "no.such.Service",
          method: "Connect",
          payload: new Uint8Array(),
        });
        await refused("the call", call, ...codes.unimplemented);
      },
    },
    {
      id: "TT-5.method",
      level: "must",
      title: "A method that there is none of is answered with Unimplemented.",
      source: "ttrpc/services.go",
      body: async (t) => {
        const { shim } = await begin(t);
        const { service, connection } = shim.task;
        await refused("the call", connection.call({ service, method: "NoSuch", payload: new Uint8Array() }), 12);
      },
    },
    {
      id: "TT-6.wait",
      level: "must",
      title:
        "timeout_nano ends a Wait that would take longer, with DeadlineExceeded or no answer, and the task goes on.",
      source: "ttrpc/server.go (getRequestContext)",
      body: async (t) => {
        const shim = await t.run();
        const call = shim.task.wait(shim.id, "", { timeoutMs: 200 });
        await Promise.race([Bun.sleep(2000), refused("Wait", call, 4, 1)]);
        equal("the status of the task", (await shim.task.state(shim.id)).status, "RUNNING");
        // One that comes later is answered as if the first had never been.
        const exit = await shim.kill();
        equal("the exit status", exit.exitStatus, 137);
      },
    },
    {
      id: "TT-7.announced",
      level: "must",
      title: "The Task service of the version that start has announced is served.",
      source: "core/runtime/v2/bridge.go",
      body: async (t) => {
        const shim = await t.start(t.bundle());
        const version = shim.found.version;
        equal("the service", shim.task.service, `containerd.task.v${version}.Task`);
        await stillServes(shim);
      },
    },
    {
      id: "TT-7.version-2",
      level: "should",
      title: "Task version 2 is served, whatever was announced: containerd 1.6 and 1.7 have nothing else.",
      source: "api/runtime/task/v2/shim.proto",
      body: async (t) => {
        const shim = await t.start(t.bundle());
        const payload = bytesField(1, shim.id);
        const bytes = await shim.task.connection.call({
          service: "containerd.task.v2.Task",
          method: "Connect",
          payload,
        });
        equal("the shim_pid", containerd.task.v2.ConnectResponse.decode(bytes).shimPid, shim.pid);
      },
    },
    {
      id: "TT-7.version-3",
      level: "should",
      title: "Where Task version 3 is served, it does what version 2 does, whatever was announced.",
      source: "api/runtime/task/v3/shim.proto",
      body: async (t) => {
        const shim = await t.start(t.bundle());
        const task = new Task(shim.task.connection, 3, t.namespace, t.transcript);
        const served = await task.connect(shim.id).catch((error: Error) => error);
        if (served instanceof StatusError && served.code === 12) return t.skip("there is no Task version 3");
        const { id } = shim;
        const pid = await task.create(shim.createRequest());
        equal("the pid of Start", await task.start(id), pid);
        await task.exec(id, "e1", t.process("sh", "-c", "exit 3"));
        await task.start(id, "e1");
        equal("the exit status of the exec", (await task.wait(id, "e1")).exitStatus, 3);
        await task.delete(id, "e1");
        await task.pause(id);
        equal("the status", (await task.state(id)).status, "PAUSED");
        await task.resume(id);
        equal(
          "the pids",
          (await task.pids(id)).map((each) => each.pid),
          [pid],
        );
        await task.update(id, { pids: { limit: 77 } });
        holds("stats", (await task.stats(id)).value.length > 0, "none");
        await task.closeIO(id);
        await refused("State of what is not there", task.state("nobody"), 5);
        await task.kill(id);
        equal("the exit status", (await task.wait(id)).exitStatus, 137);
        equal("the pid of Delete", (await task.delete(id)).pid, pid);
        await task.shutdown(id).catch(() => undefined);
        await shim.ended();
      },
    },
    {
      id: "TT-7.sandbox",
      level: "must",
      title: "The Sandbox service is answered, with Unimplemented where there is none.",
      source: "cmd/containerd-shim-runc-v2/task/plugin/plugin_linux.go",
      body: async (t) => {
        const shim = await t.start(t.bundle());
        const service = "containerd.runtime.sandbox.v1.Sandbox";
        const call = shim.task.connection.call({ service, method: "Platform", payload: bytesField(1, shim.id) });
        const outcome = await call.then(
          () => "an answer",
          (error: Error) => (error instanceof StatusError ? error.code : error.message),
        );
        holds("an answer, Unimplemented (12) or NotFound (5)", ["an answer", 12, 5].includes(outcome), outcome);
      },
    },
    {
      id: "TT-8.not-found",
      level: "must",
      title: "An error is told by code and message, in the status of the response.",
      source: "errdefs/pkg/errgrpc/grpc.go",
      body: async (t) => {
        const shim = await t.start(t.bundle());
        const message = await refused("State of a container that is not there", shim.task.state("nobody"), 5);
        holds("a message of one line", message !== "" && !message.includes("\n"), message);
      },
    },
    {
      id: "SK-5.concurrent",
      level: "must",
      title: "A call that waits does not hold up others of the same connection.",
      source: server,
      body: async (t) => {
        const shim = await t.run();
        const waiting = shim.task.wait(shim.id);
        await stillWaits("Wait", waiting, 50);
        for (let n = 0; n < 20; n++) await shim.task.state(shim.id);
        await shim.task.kill(shim.id);
        equal("the exit status", (await waiting).exitStatus, 137);
      },
    },
    {
      id: "SK-5.many-calls",
      level: "must",
      title: "A hundred calls at the same time are each answered once.",
      source: server,
      body: async (t) => {
        const { shim, wire, request } = await begin(t);
        const ids = Array.from({ length: 100 }, (_, index) => 2 * index + 1);
        wire.send(concat(...ids.map((id) => frame(id, frameType.request, request))));
        for (const id of ids) expectConnect(shim, await wire.response(id));
        equal("the number of frames", wire.frames.length, ids.length);
      },
    },
    {
      id: "SK-5.vanished",
      level: "must",
      title: "A client that vanishes while it waits leaves the task as it is, and the others served.",
      source: server,
      body: async (t) => {
        const shim = await t.run();
        for (let n = 0; n < 20; n++) {
          const other = await t.connect(shim.bundle, shim.found);
          other.task.wait(shim.id).catch(() => undefined);
          other.task.connection.close();
        }
        equal("the status of the task", (await shim.task.state(shim.id)).status, "RUNNING");
      },
    },
  ],
};
