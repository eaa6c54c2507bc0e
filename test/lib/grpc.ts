/** A small gRPC client of containerd's API, with which a test says exactly what goes over the wire. */

import { Client, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import { type Method, services } from "../../proto/gen/services.js";

type Services = typeof services;
interface MessageType {
  encode(message: never): { finish(): Uint8Array };
  decode(bytes: Uint8Array): unknown;
}

/** The names of the services, and of the methods of one. */
export type ServiceName = keyof Services;
export type MethodName<S extends ServiceName> = keyof Services[S] & string;

/** What a method takes and gives. */
export type Request<M> =
  M extends Method<infer Q extends MessageType, unknown, boolean, boolean> ? Parameters<Q["encode"]>[0] : never;
export type Response<M> =
  M extends Method<unknown, infer R extends MessageType, boolean, boolean> ? ReturnType<R["decode"]> : never;

/** Headers of a call; a namespace and a lease have a field of their own. */
export interface CallOptions {
  readonly namespace?: string | undefined;
  readonly lease?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A connection to one daemon. */
export class GrpcClient {
  readonly #client: Client;

  /** @param address path of the daemon's unix socket */
  constructor(address: string) {
    const limits = { "grpc.max_receive_message_length": 64 << 20, "grpc.max_send_message_length": 64 << 20 };
    this.#client = new Client(`unix://${address}`, credentials.createInsecure(), {
      ...limits,
      // Go's servers refuse the path of the socket as the name of a host.
      "grpc.default_authority": "localhost",
      // Clients that share a connection would share how long it waits before it tries again, too.
      "grpc.use_local_subchannel_pool": 1,
    });
  }

  /** Calls a method that streams neither way. @throws ServiceError */
  call<S extends ServiceName, M extends MethodName<S>>(
    service: S,
    method: M,
    request: Request<Services[S][M]>,
    options: CallOptions = {},
  ): Promise<Response<Services[S][M]>> {
    const { path, encode, decode } = wire(service, method);
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(path, encode, decode, request, metadataOf(options), (error, response) => {
        if (error !== null) reject(error);
        else resolve(response as Response<Services[S][M]>);
      });
    });
  }

  /** Calls a method that streams its responses. @throws ServiceError from the iteration */
  async *stream<S extends ServiceName, M extends MethodName<S>>(
    service: S,
    method: M,
    request: Request<Services[S][M]>,
    options: CallOptions = {},
  ): AsyncGenerator<Response<Services[S][M]>> {
    const { path, encode, decode } = wire(service, method);
    const call = this.#client.makeServerStreamRequest(path, encode, decode, request, metadataOf(options));
    options.signal?.addEventListener("abort", () => call.cancel(), { once: true });
    try {
      for await (const message of call) yield message as Response<Services[S][M]>;
    } catch (error) {
      if (options.signal?.aborted !== true) throw error;
    } finally {
      call.cancel();
    }
  }

  /**
   * Calls a method that streams both ways: sends all requests, and gives the responses.
   * @throws ServiceError
   */
  exchange<S extends ServiceName, M extends MethodName<S>>(
    service: S,
    method: M,
    requests: readonly Request<Services[S][M]>[],
    options: CallOptions = {},
  ): Promise<Response<Services[S][M]>[]> {
    const { path, encode, decode } = wire(service, method);
    const call = this.#client.makeBidiStreamRequest(path, encode, decode, metadataOf(options));
    const responses: Response<Services[S][M]>[] = [];
    return new Promise((resolve, reject) => {
      call.on("data", (message) => responses.push(message as Response<Services[S][M]>));
      call.on("error", reject);
      call.on("end", () => resolve(responses));
      for (const request of requests) call.write(request);
      call.end();
    });
  }

  /** Ends the connection. */
  close(): void {
    this.#client.close();
  }
}

/** True for what a call that failed throws. */
export function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && "details" in error;
}

function wire(service: ServiceName, method: string) {
  const { request, response } = (services[service] as Record<string, { request: MessageType; response: MessageType }>)[
    method
  ] as { request: MessageType; response: MessageType };
  return {
    path: `/${service}/${method}`,
    encode: (message: unknown) => Buffer.from(request.encode(message as never).finish()),
    decode: (bytes: Buffer) => response.decode(bytes),
  };
}

function metadataOf({ namespace, lease }: CallOptions): Metadata {
  const metadata = new Metadata();
  if (namespace !== undefined) metadata.set("containerd-namespace", namespace);
  if (lease !== undefined) metadata.set("containerd-lease", lease);
  return metadata;
}
