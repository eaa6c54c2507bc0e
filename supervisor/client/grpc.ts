/** A client of containerd's API over the daemon's unix socket. */

import {
  Client,
  type ClientDuplexStream,
  credentials,
  type ServiceError,
  type CallOptions as WireOptions,
} from "@grpc/grpc-js";
import {
  type Api,
  CallError,
  type CallOptions,
  type MethodName,
  type RequestOf,
  type ResponseOf,
  type ServiceName,
  wireOf,
} from "./api.ts";
import { headersOf } from "./headers.ts";

/** Options of a connection. */
export interface GrpcClientOptions {
  /** The deadline of calls that stream neither way and name none, in milliseconds; none unless told. */
  readonly deadlineMs?: number;
}

/** A connection to one daemon. */
export class GrpcClient implements Api {
  readonly #client: Client;
  readonly #deadlineMs: number;

  /** @param address path of the daemon's unix socket */
  constructor(address: string, { deadlineMs = 0 }: GrpcClientOptions = {}) {
    const limits = { "grpc.max_receive_message_length": 64 << 20, "grpc.max_send_message_length": 64 << 20 };
    this.#deadlineMs = deadlineMs;
    this.#client = new Client(`unix://${address}`, credentials.createInsecure(), {
      ...limits,
      // Go's servers refuse the path of the socket as the name of a host.
      "grpc.default_authority": "localhost",
      // Clients that share a connection would share how long it waits before it tries again, too.
      "grpc.use_local_subchannel_pool": 1,
    });
  }

  call<S extends ServiceName, M extends MethodName<S>>(
    service: S,
    method: M,
    request: RequestOf<S, M>,
    options: CallOptions = {},
  ): Promise<ResponseOf<S, M>> {
    const { path, encode, decode } = codecOf(service, method);
    const { signal } = options;
    return new Promise((resolve, reject) => {
      const call = this.#client.makeUnaryRequest(
        path,
        encode,
        decode,
        request,
        headersOf(options),
        limitOf(options.deadlineMs ?? this.#deadlineMs),
        (error, response) => {
          signal?.removeEventListener("abort", cancel);
          if (error !== null) reject(callError(error));
          else resolve(response as ResponseOf<S, M>);
        },
      );
      const cancel = (): void => call.cancel();
      signal?.addEventListener("abort", cancel, { once: true });
      if (signal?.aborted) cancel();
    });
  }

  async *stream<S extends ServiceName, M extends MethodName<S>>(
    service: S,
    method: M,
    request: RequestOf<S, M>,
    options: CallOptions = {},
  ): AsyncGenerator<ResponseOf<S, M>> {
    const { path, encode, decode } = codecOf(service, method);
    const limit = limitOf(options.deadlineMs ?? 0);
    const call = this.#client.makeServerStreamRequest(path, encode, decode, request, headersOf(options), limit);
    yield* responsesOf<ResponseOf<S, M>>(call, options.signal);
  }

  async *duplex<S extends ServiceName, M extends MethodName<S>>(
    service: S,
    method: M,
    requests: AsyncIterable<RequestOf<S, M>>,
    options: CallOptions = {},
  ): AsyncGenerator<ResponseOf<S, M>> {
    const { path, encode, decode } = codecOf(service, method);
    const limit = limitOf(options.deadlineMs ?? 0);
    const call = this.#client.makeBidiStreamRequest(path, encode, decode, headersOf(options), limit);
    let problem: unknown;
    send(call, requests).catch((error: unknown) => {
      problem = error;
      call.cancel();
    });
    try {
      yield* responsesOf<ResponseOf<S, M>>(call, options.signal);
    } catch (error) {
      throw problem ?? error;
    }
  }

  /** Calls a method that streams both ways: sends all requests, and gives the responses. @throws CallError */
  async exchange<S extends ServiceName, M extends MethodName<S>>(
    service: S,
    method: M,
    requests: readonly RequestOf<S, M>[],
    options: CallOptions = {},
  ): Promise<ResponseOf<S, M>[]> {
    const responses: ResponseOf<S, M>[] = [];
    for await (const response of this.duplex(service, method, each(requests), options)) responses.push(response);
    return responses;
  }

  close(): void {
    this.#client.close();
  }
}

/** True for what a call that failed throws. */
export function isServiceError(error: unknown): error is CallError {
  return error instanceof CallError;
}

async function* each<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items;
}

/** A cancelled stream ends without an error. */
async function* responsesOf<R>(
  call: AsyncIterable<unknown> & { cancel(): void },
  signal: AbortSignal | undefined,
): AsyncGenerator<R> {
  const cancel = (): void => call.cancel();
  signal?.addEventListener("abort", cancel, { once: true });
  if (signal?.aborted) cancel();
  try {
    for await (const message of call) yield message as R;
  } catch (error) {
    if (signal?.aborted !== true) throw callError(error);
  } finally {
    signal?.removeEventListener("abort", cancel);
    call.cancel();
  }
}

async function send(call: ClientDuplexStream<unknown, unknown>, requests: AsyncIterable<unknown>): Promise<void> {
  const { promise: over, resolve: end } = Promise.withResolvers<void>();
  call.once("status", () => end());
  for await (const request of requests) {
    if (call.destroyed || call.writableEnded) return;
    if (call.write(request)) continue;
    const { promise: drained, resolve } = Promise.withResolvers<void>();
    call.once("drain", resolve);
    await Promise.race([drained, over]);
    call.off("drain", resolve);
  }
  call.end();
}

function callError(error: unknown): CallError {
  if (error instanceof CallError) return error;
  const { code, details, message } = error as ServiceError;
  return new CallError(code ?? 2, details ?? message ?? String(error), { cause: error });
}

function limitOf(deadlineMs: number): WireOptions {
  return deadlineMs > 0 ? { deadline: Date.now() + deadlineMs } : {};
}

function codecOf(service: ServiceName, method: string) {
  const { path, request, response } = wireOf(service, method);
  return {
    path,
    encode: (message: unknown) => Buffer.from(request.encode(message as never).finish()),
    decode: (bytes: Buffer) => response.decode(bytes),
  };
}
