/** Faults of events: lost, doubled, late, overtaken, and with wrong fields. */

import { containerd } from "../../../proto/gen/shim.js";
import { encodeRequest, frame, frameType } from "../../conformance/rig/wire.ts";
import type { Fault, Served } from "../fault.ts";
import { dialUpstream } from "../link.ts";
import { afterwards, alters, delays, isExecExit, later, loses, ofInit } from "./make.ts";

const isInitExit = (event: Parameters<typeof isExecExit>[0]): boolean =>
  event.topic === "/tasks/exit" && !isExecExit(event);

/** Sends events of a topic twice. */
function twice(topic: string): NonNullable<Fault["event"]> {
  return async (event, deliver) => {
    const code = await deliver(event);
    return event.topic === `/tasks/${topic}` ? await deliver(event) : code;
  };
}

/** A field of a topic's events is another. */
function wrong(topic: string, field: string, value: unknown): NonNullable<Fault["event"]> {
  return alters(topic, ({ body }) => {
    body[field] = value;
  });
}

/** Sends an event that the good shim knows nothing of, on a connection of its own. */
async function publish({ call }: Served, topic: string, name: "TaskExit" | "TaskDelete", body: object): Promise<void> {
  const taken = Promise.withResolvers<void>();
  const link = await dialUpstream(call.env["TTRPC_ADDRESS"] ?? "", {
    data: () => taken.resolve(),
    close: taken.resolve,
  });
  const event = { type_url: `containerd.events.${name}`, value: containerd.events[name].encode(body).finish() };
  const timestamp = { seconds: Math.floor(Date.now() / 1000) };
  const envelope = { topic: `/tasks/${topic}`, namespace: call.namespace, timestamp, event };
  const payload = containerd.services.events.ttrpc.v1.ForwardRequest.encode({ envelope }).finish();
  const request = { service: "containerd.services.events.ttrpc.v1.Events", method: "Forward", payload };
  link.write(frame(1, frameType.request, encodeRequest(request)));
  await taken.promise;
  link.close();
}

export const eventFaults: readonly Fault[] = [
  { name: "TaskCreate is never sent", by: ["EV-1.order", "EV-1.create"], also: ["EV-*"], event: loses("create") },
  { name: "TaskStart is never sent", by: ["EV-1.order", "EV-1.start"], event: loses("start") },
  { name: "TaskExit of init is never sent", by: ["EV-1.order", "EV-1.exit"], event: loses("exit", isInitExit) },
  { name: "TaskExit of an exec is never sent", by: ["EV-1.exec", "PR-3"], event: loses("exit", isExecExit) },
  { name: "TaskDelete is never sent", by: ["EV-1.order", "EV-1.delete"], event: loses("delete") },
  { name: "TaskExecAdded is never sent", by: ["EV-1.exec"], event: loses("exec-added") },
  { name: "TaskExecStarted is never sent", by: ["EV-1.exec"], event: loses("exec-started") },
  { name: "TaskPaused is never sent", by: ["EV-1.paused"], event: loses("paused") },
  { name: "TaskResumed is never sent", by: ["EV-1.paused"], event: loses("resumed") },
  { name: "TaskExit is sent twice", by: ["EV-1.order"], also: ["EV-*"], event: twice("exit") },
  { name: "TaskStart is sent twice", by: ["EV-1.order"], event: twice("start") },
  { name: "TaskDelete is sent twice", by: ["EV-1.order"], event: twice("delete") },
  { name: "TaskExecStarted is sent twice", by: ["EV-1.exec"], event: twice("exec-started") },
  { name: "TaskStart comes after TaskExit", by: ["EV-1.order", "T-STA-7.init"], event: delays("start", 300) },
  {
    name: "TaskExecStarted comes after TaskExit",
    by: ["EV-1.exec", "T-STA-7.exec"],
    event: delays("exec-started", 400),
  },
  { name: "TaskDelete comes before TaskExit", by: ["EV-1.order"], event: delays("exit", 300, isInitExit) },
  {
    name: "the exit of init comes before those of its execs",
    by: ["EV-1.init-last", "PR-3"],
    event: delays("exit", 300, isExecExit),
  },
  {
    name: "TaskExit comes ten seconds late",
    by: ["EV-1.exit"],
    also: ["EV-1.order"],
    timeout: 15,
    event: delays("exit", 10_000),
  },
  { name: "TaskExit has no pid", by: ["EV-1.exit", "EV-1.exec"], event: wrong("exit", "pid", 0) },
  { name: "TaskExit has the status 0", by: ["EV-1.exit", "EV-1.exec"], event: wrong("exit", "exitStatus", 0) },
  { name: "TaskExit has no time", by: ["EV-1.exit"], event: wrong("exit", "exitedAt", null) },
  {
    name: "TaskExit of init has no id",
    by: ["EV-1.exit"],
    also: ["EV-*"],
    event: alters("exit", (event) => {
      if (isInitExit(event)) event.body["id"] = "";
    }),
  },
  {
    name: "TaskExit of an exec has the container's id",
    by: ["EV-1.exec"],
    event: alters("exit", ({ body }) => {
      body["id"] = body["containerId"];
    }),
  },
  { name: "TaskStart has no pid", by: ["EV-1.start"], event: wrong("start", "pid", 0) },
  { name: "TaskCreate has no pid", by: ["EV-1.create"], event: wrong("create", "pid", 0) },
  { name: "TaskCreate has no bundle", by: ["EV-1.create"], event: wrong("create", "bundle", "") },
  { name: "TaskCreate has no rootfs", by: ["EV-1.create"], event: wrong("create", "rootfs", []) },
  { name: "TaskCreate has no stdio", by: ["EV-1.create"], event: wrong("create", "io", null) },
  { name: "TaskDelete has the status 0", by: ["EV-1.delete"], event: wrong("delete", "exitStatus", 0) },
  { name: "TaskDelete has no pid", by: ["EV-1.delete"], event: wrong("delete", "pid", 0) },
  {
    name: "the topic is another",
    by: ["EV-1.order"],
    also: ["EV-*"],
    event: alters("start", (event) => {
      event.topic = "/task/start";
    }),
  },
  {
    name: "the type URL has a host",
    by: ["EV-1.envelope"],
    also: ["EV-*"],
    event: alters(undefined, (event) => {
      event.typeUrl = `type.googleapis.com/${event.typeUrl}`;
    }),
  },
  {
    name: "the namespace is missing",
    by: ["EV-1.envelope"],
    event: alters(undefined, (event) => {
      event.namespace = "";
    }),
  },
  {
    name: "the time is missing",
    by: ["EV-1.envelope"],
    event: alters(undefined, (event) => {
      event.seconds = 0;
    }),
  },
  {
    name: "Delete of an exec sends TaskDelete",
    by: ["T-DEL-4.exec"],
    rpc: afterwards("Delete", async (served, call) => {
      if (ofInit(call)) return;
      const body = { containerId: served.call.id, id: call.request("Delete").execId, pid: 4242 };
      await publish(served, "delete", "TaskDelete", body);
    }),
  },
  {
    name: "a Create that fails sends TaskExit",
    by: ["T-CRE-7"],
    rpc: async (call, next) => {
      const reply = await next();
      const { served } = call.wire;
      if (!call.is("Create") || reply.code === 0) return reply;
      const body = { containerId: served.call.id, id: served.call.id, pid: 4242, exitStatus: 255 };
      await publish(served, "exit", "TaskExit", body);
      return reply;
    },
  },
  {
    name: "events are lost while containerd is away",
    by: ["EV-2.restart", "EV-3.order"],
    event: (event, deliver) => deliver(event).catch(() => 0),
  },
  {
    name: "an event is given up after twenty seconds",
    by: ["EV-3.minute"],
    event: async (event, deliver) => {
      const key = JSON.stringify(event.body);
      const { memory } = event.served;
      if (!memory.has(key)) memory.set(key, performance.now());
      const age = performance.now() - Number(memory.get(key));
      return age > 20_000 ? 0 : await deliver(event);
    },
  },
  {
    name: "events that waited are overtaken",
    by: ["EV-3.order"],
    event: async (event, deliver) => {
      try {
        return await deliver(event);
      } catch {
        later(event, deliver, 2500);
        return 0;
      }
    },
  },
  {
    name: "an event that is refused is not sent again",
    by: ["EV-2.refused"],
    timeout: 8,
    event: async (event, deliver) => {
      await deliver(event);
      return 0;
    },
  },
  {
    name: "calls wait for events to be taken",
    by: ["EV-2.serves"],
    timeout: 5,
    event: async (event, deliver) => {
      const sent = deliver(event);
      event.served.memory.set(
        "sent",
        sent.catch(() => 0),
      );
      return await sent;
    },
    rpc: async (call, next) => {
      const reply = await next();
      // The event of a Start may be sent a moment after its answer.
      await Bun.sleep(20);
      await call.wire.served.memory.get("sent");
      return reply;
    },
  },
  {
    name: "events that are queued end with the shim",
    by: ["EV-5"],
    event: async (event, deliver) => {
      const { memory } = event.served;
      const last = memory.get("last") as Promise<unknown> | undefined;
      const sent = (last ?? Promise.resolve()).then(() => deliver(event)).catch(() => 0);
      memory.set("last", sent);
      return 0;
    },
  },
  {
    name: "an exec that failed to start holds up the exit of init",
    by: ["T-STA-6.init-exit"],
    rpc: async (call, next) => {
      const reply = await next();
      if (call.is("Start") && reply.code !== 0) call.wire.served.memory.set("failed", true);
      return reply;
    },
    event: async (event, deliver) =>
      isInitExit(event) && event.served.memory.has("failed") ? 0 : await deliver(event),
  },
];
