/** What faults are made of. */

import { containerd } from "../../../proto/gen/shim.js";
import type { Deliver, Fault, Served, ShimEvent } from "../fault.ts";
import { type AnswerOf, type Method, Reply, type RequestOf, type RpcCall } from "../rpc.ts";

const { Options } = containerd.runc.v1;

type Rpc = NonNullable<Fault["rpc"]>;
type OnEvent = NonNullable<Fault["event"]>;

/** Changes the fields of a method's answers. */
export function answers<M extends Method>(method: M, change: (answer: AnswerOf<M>, call: RpcCall) => void): Rpc {
  return async (call, next) => {
    const reply = await next();
    if (!call.is(method) || reply.code !== 0) return reply;
    return reply.edited(method, (answer) => change(answer, call));
  };
}

/** Changes the fields of a method's requests. */
export function asks<M extends Method>(method: M, change: (request: RequestOf<M>, call: RpcCall) => void): Rpc {
  return (call, next) => {
    if (call.is(method)) call.edit(method, (request) => change(request, call));
    return next();
  };
}

/** Changes runc's options of Create. */
export function createOptions(change: (options: ReturnType<typeof Options.decode>) => void): Rpc {
  return asks("Create", (request) => {
    const { options } = request;
    if (options?.type_url !== "containerd.runc.v1.Options") return;
    const decoded = Options.decode(options.value ?? new Uint8Array());
    change(decoded);
    request.options = { type_url: options.type_url, value: Options.encode(decoded).finish() };
  });
}

/** Tells one code for another. */
export function recodes(method: Method, from: readonly number[], to: number): Rpc {
  return async (call, next) => {
    const reply = await next();
    return call.is(method) && from.includes(reply.code) ? Reply.refusal(to, reply.message) : reply;
  };
}

/** Says that something was done which was refused. */
export function accepts<M extends Method>(
  method: M,
  { fields, when = () => true }: { fields?: Partial<AnswerOf<M>>; when?: (call: RpcCall) => boolean } = {},
): Rpc {
  return async (call, next) => {
    const reply = await next();
    return call.is(method) && reply.code !== 0 && when(call) ? Reply.of(method, fields ?? {}) : reply;
  };
}

/** Says that something was done, and does nothing. */
export function swallows(...methods: readonly Method[]): Rpc {
  return async (call, next) => (call.is(...methods) ? Reply.of("Kill", {}) : await next());
}

/** Does something after a call that was answered. */
export function afterwards(method: Method, act: (served: Served, call: RpcCall) => void | Promise<void>): Rpc {
  return async (call, next) => {
    const reply = await next();
    if (call.is(method) && reply.code === 0) await act(call.wire.served, call);
    return reply;
  };
}

/** Does something after the Delete of a container, whose bundle it is told. */
export function afterDeleteIn(act: (bundle: string, call: RpcCall) => void): Rpc {
  return async (call, next) => {
    const { memory } = call.wire.served;
    if (call.is("Create")) {
      const { id, bundle } = call.request("Create");
      memory.set(`bundle of ${id}`, bundle);
    }
    const reply = await next();
    if (!call.is("Delete") || !ofInit(call) || reply.code !== 0) return reply;
    const bundle = memory.get(`bundle of ${call.request("Delete").id}`);
    if (typeof bundle === "string") act(bundle, call);
    return reply;
  };
}

/** True when init is meant, not an exec. */
export function ofInit(call: RpcCall): boolean {
  return call.target.endsWith("/");
}

/** Never sends the events of a topic. */
export function loses(topic: string, when: (event: ShimEvent) => boolean = () => true): OnEvent {
  return async (event, deliver) => (event.topic === `/tasks/${topic}` && when(event) ? 0 : await deliver(event));
}

/** Changes events of a topic; of all, without one. */
export function alters(topic: string | undefined, change: (event: ShimEvent) => void): OnEvent {
  return async (event, deliver) => {
    if (topic === undefined || event.topic === `/tasks/${topic}`) change(event);
    return await deliver(event);
  };
}

/** Takes events of a topic at once and sends them a moment later: what comes after them overtakes them. */
export function delays(topic: string, ms: number, when: (event: ShimEvent) => boolean = () => true): OnEvent {
  return async (event, deliver) => {
    if (event.topic !== `/tasks/${topic}` || !when(event)) return await deliver(event);
    later(event, deliver, ms);
    return 0;
  };
}

/** Sends an event after some time; when nobody is there any more it is lost. */
export function later(event: ShimEvent, deliver: Deliver, ms: number): void {
  setTimeout(() => deliver(event).catch(() => undefined), ms);
}

/** True for the exit of an exec. */
export function isExecExit({ topic, body }: ShimEvent): boolean {
  return topic === "/tasks/exit" && body["id"] !== body["containerId"];
}
