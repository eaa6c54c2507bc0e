/**
 * The gRPC server: services by name, with handlers of plain values and async iterables. The one place where errors become
 * gRPC statuses.
 */

import type { Readable } from "node:stream";
import {
  type Metadata,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServiceDefinition,
  type sendUnaryData,
  type UntypedHandleCall,
} from "@grpc/grpc-js";
import { ContainerdError, toStatus } from "../../proto/errdefs.ts";
import { type Method, services } from "../../proto/gen/services.js";
import { Code } from "../../proto/ttrpc/status.ts";
import { CallContext } from "./context.ts";

/** Longest messages in bytes. */
export interface MessageLimits {
  readonly receive: number;
  readonly send: number;
}

/** Longest message either way (contract: messages up to 16 MiB). */
const defaultLimits: MessageLimits = { receive: 16 << 20, send: 16 << 20 };

/** Bytes of gRPC's header of a message: whether it is compressed, and its length. */
const HEADER = 5;

type Services = typeof services;
type Decoder = { decode(bytes: Uint8Array): unknown };
type Encoder = { encode(message: never): { finish(): Uint8Array } };

/** What a handler gets for a message class: the decoded message. */
export type Decoded<C extends Decoder> = ReturnType<C["decode"]>;
/** What a handler gives for a message class: any object of its fields. */
export type Encodable<C extends Encoder> = Parameters<C["encode"]>[0];

/** The handler of one method: requests and responses that stream are async iterables. */
export type Handler<M> =
  M extends Method<infer Q extends Decoder, infer R extends Encoder, infer QS, infer RS>
    ? (
        request: QS extends true ? AsyncIterable<Decoded<Q>> : Decoded<Q>,
        context: CallContext,
      ) => RS extends true
        ? AsyncIterable<Encodable<R> | EncodedMessage | EncodedBatch>
        : Promise<Encodable<R> | EncodedMessage> | Encodable<R> | EncodedMessage
    : never;

/** The handlers of a service. A method that is not there is answered Unimplemented. */
export type Handlers<S extends keyof Services> = { [M in keyof Services[S]]?: Handler<Services[S][M]> };

/** A response whose bytes the handler has already. */
export class EncodedMessage {
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }
}

/** Several messages of a stream, written at once: for a stream of many small ones. */
export class EncodedBatch {
  readonly messages: readonly Uint8Array[];

  /** @param messages at least one */
  constructor(messages: readonly Uint8Array[]) {
    this.messages = messages;
  }
}

interface UntypedMethod {
  readonly request: Decoder;
  readonly response: Encoder;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
}

type AnyCall = ServerUnaryCall<unknown, unknown> & {
  write(message: unknown): boolean;
  end(): void;
  destroy?(error?: Error): void;
};

/** Told of the calls of one method. */
export interface CallObserver {
  started(): void;
  received(): void;
  sent(): void;
  /** @param code gRPC's; @param ms how long the call took */
  ended(code: number, ms: number): void;
}

/** Gives the observer of a method. */
export type Observe = (
  service: string,
  method: string,
  requestStream: boolean,
  responseStream: boolean,
) => CallObserver;

const unobserved: CallObserver = { started() {}, received() {}, sent() {}, ended() {} };

/**
 * Options of HTTP/2 that grpc-js does not pass on. Go's clients cancel a Read as soon as they have the bytes they asked
 * for, thousands of times for one blob: that is no attack, and must not end their connection (Node's default allows
 * 1000 cancelled streams, and 33 a second). Windows as large as a message spare uploads a round trip for each 64 KiB.
 */
function tune(server: Server): void {
  const { commonServerOptions } = server as unknown as { commonServerOptions: Record<string, unknown> };
  commonServerOptions["streamResetBurst"] = 1e9;
  commonServerOptions["streamResetRate"] = 1e9;
  commonServerOptions["settings"] = { initialWindowSize: 4 << 20 };
}

/** Serves containerd's API on unix sockets. */
export class GrpcServer {
  /** What ends the calls that run. */
  readonly #running = new Set<AbortController>();
  readonly #handlers = new Map<string, UntypedHandler>();
  readonly #server: Server;
  readonly #observe: Observe;
  readonly #limits: MessageLimits;

  constructor(observe: Observe = () => unobserved, limits: MessageLimits = defaultLimits) {
    this.#observe = observe;
    this.#limits = limits;
    this.#server = new Server({
      "grpc.max_receive_message_length": limits.receive,
      "grpc.max_send_message_length": limits.send,
      // Counts of its own, which nobody asks for.
      "grpc.enable_channelz": 0,
    });
    tune(this.#server);
  }

  /** Adds a service under its full name. */
  register<S extends keyof Services>(name: S, handlers: Handlers<S>): this {
    const definition: Record<string, ServiceDefinition[string]> = {};
    const implementation: Record<string, UntypedHandleCall> = {};
    for (const [method, row] of Object.entries(services[name]) as [string, UntypedMethod][]) {
      const handler = (handlers as Record<string, unknown>)[method];
      if (handler === undefined) continue;
      this.#handlers.set(`${name}/${method}`, handler as UntypedHandler);
      const observer = this.#observe(name, method, row.requestStream, row.responseStream);
      definition[method] = {
        path: `/${name}/${method}`,
        requestStream: row.requestStream,
        responseStream: row.responseStream,
        requestDeserialize: (bytes) => {
          observer.received();
          return row.request.decode(bytes);
        },
        responseSerialize: (message) => {
          for (let n = message instanceof EncodedBatch ? message.messages.length : 1; n > 0; n--) observer.sent();
          return encode(row.response, message);
        },
        requestSerialize: () => Buffer.alloc(0),
        responseDeserialize: () => undefined,
      };
      implementation[method] = this.#adapt(observer, row, handler as UntypedHandler);
    }
    this.#server.addService(definition, implementation);
    return this;
  }

  /** The handler of a method, for calls from inside the daemon (client/local.ts); undefined when there is none. */
  handler(service: string, method: string): UntypedHandler | undefined {
    return this.#handlers.get(`${service}/${method}`);
  }

  /**
   * Listens on a unix socket at a path that does not exist.
   * @throws Error when the path is taken or cannot be made
   */
  listen(path: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), (error) =>
        error ? reject(error) : resolve(),
      );
    });
  }

  /** Ends: new calls are refused, and after `graceMs` milliseconds those that still run are cut off. */
  async stop(graceMs: number): Promise<void> {
    const { promise: forced, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(() => {
      // Calls that stream both ways are not told by grpc-js that their caller is gone, nor does the server then end.
      for (const controller of this.#running) controller.abort();
      this.#server.forceShutdown();
      resolve();
    }, graceMs);
    await Promise.race([new Promise<void>((ended) => this.#server.tryShutdown(() => ended())), forced]);
    clearTimeout(timer);
  }

  /** Only lists grow so long, and these come encoded. @throws ContainerdError ResourceExhausted, in Go's words */
  #checkSize(response: unknown): void {
    if (!(response instanceof EncodedMessage) || response.bytes.length <= this.#limits.send) return;
    const sizes = `${response.bytes.length} vs. ${this.#limits.send}`;
    throw new ContainerdError(Code.ResourceExhausted, `grpc: trying to send message larger than max (${sizes})`);
  }

  #adapt(observer: CallObserver, row: UntypedMethod, handler: UntypedHandler): UntypedHandleCall {
    const ended = (started: number, code: number): void => observer.ended(code, performance.now() - started);
    const unary = async (call: AnyCall, answer: sendUnaryData<unknown>): Promise<void> => {
      observer.started();
      const started = performance.now();
      const { context, over } = contextOf(call, this.#running);
      try {
        const request = row.requestStream ? requestsOf(call) : call.request;
        const response = await handler(request, context);
        this.#checkSize(response);
        answer(null, response);
        ended(started, 0);
      } catch (error) {
        const { code, message } = toStatus(error);
        answer({ code, details: message });
        ended(started, code);
      } finally {
        over();
      }
    };
    const streaming = async (call: AnyCall): Promise<void> => {
      observer.started();
      const started = performance.now();
      const { context, over } = contextOf(call, this.#running);
      try {
        const request = row.requestStream ? requestsOf(call) : call.request;
        for await (const message of handler(request, context) as AsyncIterable<unknown>) {
          if (context.signal.aborted) break;
          if (!call.write(message)) await drained(call, context.signal);
        }
        call.end();
        ended(started, 0);
      } catch (error) {
        const { code, message } = toStatus(error);
        call.emit("error", { code, details: message });
        ended(started, code);
      } finally {
        over();
      }
    };
    return (row.responseStream ? streaming : unary) as unknown as UntypedHandleCall;
  }
}

type UntypedHandler = (request: unknown, context: CallContext) => unknown;

/** The requests of a call. Whoever has read them all can still answer: a stream's own iterator would destroy it. */
function requestsOf(call: AnyCall): AsyncIterable<unknown> {
  return (call as unknown as Readable).iterator({ destroyOnReturn: false });
}

/** The context of a call; `over` is called when its handler has returned. */
function contextOf(
  call: { readonly metadata: Metadata; readonly cancelled: boolean } & NodeJS.EventEmitter,
  running: Set<AbortController>,
): { context: CallContext; over: () => void } {
  const controller = new AbortController();
  running.add(controller);
  const cancel = (): void => controller.abort();
  if (call.cancelled) cancel();
  call.once("cancelled", cancel);
  const over = (): void => {
    running.delete(controller);
    call.off("cancelled", cancel);
  };
  return { context: new CallContext(call.metadata, controller.signal), over };
}

function encode(type: Encoder, message: unknown): Buffer {
  // grpc-js asks for no more of a buffer than this one has; test/unit/supervisor/grpc/events.test.ts holds it to that.
  if (message instanceof EncodedBatch) return new Frames(message.messages) as unknown as Buffer;
  const bytes = message instanceof EncodedMessage ? message.bytes : type.encode(message as never).finish();
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/**
 * Messages that grpc-js takes for one. It makes a buffer with room for the header of a message, writes the header for
 * `byteLength` bytes, and has them copied behind it: where this writes the headers of all.
 */
class Frames {
  readonly byteLength: number;
  readonly #messages: readonly Uint8Array[];

  constructor(messages: readonly Uint8Array[]) {
    this.#messages = messages;
    this.byteLength = messages.reduce((size, { length }) => size + HEADER + length, -HEADER);
  }

  copy(target: Buffer, start: number): void {
    let at = start - HEADER;
    for (const message of this.#messages) {
      target[at] = 0;
      target.writeUInt32BE(message.length, at + 1);
      target.set(message, at + HEADER);
      at += HEADER + message.length;
    }
  }
}

/** Resolves when the call takes more messages, or its caller has gone. */
function drained(call: NodeJS.EventEmitter, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      call.off("drain", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    call.once("drain", done);
    signal.addEventListener("abort", done);
    if (signal.aborted) done();
  });
}
