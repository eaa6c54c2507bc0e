/**
 * The API inside the daemon: calls the handlers that are registered, without a socket. Messages are encoded and decoded
 * on the way as they would be on the wire, so that whoever uses it sees what a client sees, and shares no object.
 */

import { ContainerdError, notImplemented, toStatus } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import { CallContext } from "../grpc/context.ts";
import { EncodedBatch, EncodedMessage, type GrpcServer } from "../grpc/server.ts";
import {
  type Api,
  CallError,
  type CallOptions,
  type MessageType,
  type MethodName,
  type RequestOf,
  type ResponseOf,
  type ServiceName,
  wireOf,
} from "./api.ts";
import { headersOf } from "./headers.ts";

/** Calls the services of one server. */
export class LocalApi implements Api {
  readonly #server: Pick<GrpcServer, "handler">;

  constructor(server: Pick<GrpcServer, "handler">) {
    this.#server = server;
  }

  async call<S extends ServiceName, M extends MethodName<S>>(
    service: S,
    method: M,
    request: RequestOf<S, M>,
    options: CallOptions = {},
  ): Promise<ResponseOf<S, M>> {
    const { request: asked, response } = wireOf(service, method);
    const call = begin(options);
    try {
      const handler = this.#handler(service, method);
      const answer = handler(copy(asked, request), call.context) as Promise<unknown>;
      // A handler that does not look at its signal is not waited for.
      return decoded(response, await Promise.race([answer, call.ended])) as ResponseOf<S, M>;
    } catch (error) {
      throw callError(error);
    } finally {
      call.over();
    }
  }

  async *stream<S extends ServiceName, M extends MethodName<S>>(
    service: S,
    method: M,
    request: RequestOf<S, M>,
    options: CallOptions = {},
  ): AsyncGenerator<ResponseOf<S, M>> {
    const { request: asked } = wireOf(service, method);
    yield* this.#responses(service, method, copy(asked, request), options);
  }

  async *duplex<S extends ServiceName, M extends MethodName<S>>(
    service: S,
    method: M,
    requests: AsyncIterable<RequestOf<S, M>>,
    options: CallOptions = {},
  ): AsyncGenerator<ResponseOf<S, M>> {
    const { request: asked } = wireOf(service, method);
    yield* this.#responses(service, method, copies(asked, requests), options);
  }

  close(): void {}

  async *#responses<S extends ServiceName, M extends MethodName<S>>(
    service: S,
    method: M,
    request: unknown,
    options: CallOptions,
  ): AsyncGenerator<ResponseOf<S, M>> {
    const { response } = wireOf(service, method);
    const call = begin(options);
    let source: AsyncIterator<unknown> | undefined;
    try {
      const answers = this.#handler(service, method)(request, call.context) as AsyncIterable<unknown>;
      source = answers[Symbol.asyncIterator]();
      while (true) {
        const next = await Promise.race([source.next(), call.ended]);
        if (next.done) return;
        for (const message of next.value instanceof EncodedBatch ? next.value.messages : [next.value]) {
          yield decoded(response, message) as ResponseOf<S, M>;
        }
      }
    } catch (error) {
      if (options.signal?.aborted !== true) throw callError(error);
    } finally {
      call.over();
      // One that waits for its next message returns when it sees the signal.
      source?.return?.()?.catch(() => undefined);
    }
  }

  #handler(service: ServiceName, method: string): (request: unknown, context: CallContext) => unknown {
    const handler = this.#server.handler(service, method);
    if (handler === undefined) throw notImplemented(`method ${method} of ${service} is not served`);
    return handler;
  }
}

/** The context of a call. `ended` rejects when the call is cancelled or late; `over` tells the handler that it is. */
function begin(options: CallOptions): { context: CallContext; ended: Promise<never>; over: () => void } {
  const { signal, deadlineMs = 0 } = options;
  const controller = new AbortController();
  const { promise: ended, reject } = Promise.withResolvers<never>();
  // Nobody may be waiting for it any more.
  ended.catch(() => undefined);
  const end = (error: ContainerdError): void => {
    reject(error);
    controller.abort();
  };
  const cancel = (): void => end(new ContainerdError(Code.Canceled, "context canceled"));
  const late = (): void => end(new ContainerdError(Code.DeadlineExceeded, "context deadline exceeded"));
  const timer = deadlineMs > 0 ? setTimeout(late, deadlineMs) : undefined;
  signal?.addEventListener("abort", cancel, { once: true });
  if (signal?.aborted) cancel();
  const over = (): void => {
    clearTimeout(timer);
    signal?.removeEventListener("abort", cancel);
    controller.abort();
  };
  return { context: new CallContext(headersOf(options), controller.signal), ended, over };
}

function copy(type: MessageType, message: unknown): unknown {
  return type.decode(type.encode(message as never).finish());
}

async function* copies(type: MessageType, messages: AsyncIterable<unknown>): AsyncGenerator<unknown> {
  for await (const message of messages) yield copy(type, message);
}

function decoded(type: MessageType, message: unknown): unknown {
  if (message instanceof Uint8Array) return type.decode(message);
  return message instanceof EncodedMessage ? type.decode(message.bytes) : copy(type, message);
}

function callError(error: unknown): CallError {
  if (error instanceof CallError) return error;
  const { code, message } = toStatus(error);
  return new CallError(code, message, { cause: error });
}
