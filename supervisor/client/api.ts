/**
 * containerd's API as its clients call it: by the names of services and methods, with plain values. Over a socket
 * ({@link file://./grpc.ts}) or inside the daemon ({@link file://./local.ts}), with the same meaning.
 */

import { ContainerdError } from "../../proto/errdefs.ts";
import { type Method, services } from "../../proto/gen/services.js";
import type { Code } from "../../proto/ttrpc/status.ts";

type Services = typeof services;

/** The class of a message. */
export interface MessageType {
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
/** The same by names. */
export type RequestOf<S extends ServiceName, M extends MethodName<S>> = Request<Services[S][M]>;
export type ResponseOf<S extends ServiceName, M extends MethodName<S>> = Response<Services[S][M]>;

/** What a call comes with; a namespace and a lease are headers. */
export interface CallOptions {
  readonly namespace?: string | undefined;
  readonly lease?: string | undefined;
  /** Cancels the call. A stream that is cancelled ends without an error. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds until the call fails with DeadlineExceeded; 0: never. Calls that stream have none unless told. */
  readonly deadlineMs?: number | undefined;
}

/** A way to one daemon. What fails throws {@link CallError}. */
export interface Api {
  /** Calls a method that streams neither way. @throws CallError */
  call<S extends ServiceName, M extends MethodName<S>>(
    service: S,
    method: M,
    request: RequestOf<S, M>,
    options?: CallOptions,
  ): Promise<ResponseOf<S, M>>;
  /** Calls a method that streams its responses; leaving the loop cancels it. @throws CallError from the iteration */
  stream<S extends ServiceName, M extends MethodName<S>>(
    service: S,
    method: M,
    request: RequestOf<S, M>,
    options?: CallOptions,
  ): AsyncGenerator<ResponseOf<S, M>>;
  /**
   * Calls a method that streams both ways: requests are taken as the other side has room for them; leaving the loop
   * cancels the call.
   * @throws CallError from the iteration
   */
  duplex<S extends ServiceName, M extends MethodName<S>>(
    service: S,
    method: M,
    requests: AsyncIterable<RequestOf<S, M>>,
    options?: CallOptions,
  ): AsyncGenerator<ResponseOf<S, M>>;
  /** Ends the connection. */
  close(): void;
}

/** A call that was answered with an error: the daemon's code and its words. */
export class CallError extends ContainerdError {
  /** The daemon's words alone. */
  readonly details: string;

  constructor(code: number, details: string, options?: { cause?: unknown }) {
    super(code as Code, details, options);
    this.details = details;
  }
}

/** How a method goes over the wire. @throws Error for a method that is not in the protocol */
export function wireOf(
  service: ServiceName,
  method: string,
): { path: string; request: MessageType; response: MessageType } {
  const row = (services[service] as Record<string, { request: MessageType; response: MessageType }>)[method];
  if (row === undefined) throw new Error(`${service} has no method ${method}`);
  return { path: `/${service}/${method}`, request: row.request, response: row.response };
}
