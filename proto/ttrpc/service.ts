/** Service descriptors: what a server is told about the methods it serves. */

import type { Codec } from "./message.ts";
import type { Metadata } from "./metadata.ts";
import type { TtrpcError } from "./status.ts";
import type { StreamChannel } from "./stream.ts";

/** What a handler knows of the call it answers. */
export interface CallContext {
  /** Full name of the service, such as "containerd.task.v2.Task". */
  readonly service: string;
  /** Name of the method, such as "State". */
  readonly method: string;
  /**
   * Aborted when nobody waits for the answer any more: the caller's deadline has passed, its connection is gone, or the
   * server has given up waiting at shutdown. The reason is a TtrpcError. Made when first asked for.
   */
  readonly signal: AbortSignal;
  /** The caller's metadata. Made when first asked for. */
  readonly metadata: Metadata;
  /** When the caller stops waiting, in milliseconds since the epoch; undefined when it waits for ever. */
  readonly deadline: number | undefined;
}

/** Answers a unary call. Throw (or reject with) a TtrpcError to answer with its code. */
export type UnaryHandler<Request, Response> = (
  request: Request,
  context: CallContext,
) => Response | PromiseLike<Response>;

/** A method with one request and one response; made by {@link unary}. */
export interface UnaryMethod {
  readonly kind: "unary";
  /** Decodes, handles and encodes. Throws what the handler throws. */
  decode(payload: Uint8Array): unknown;
  handle(request: unknown, context: CallContext): unknown;
  encode(response: unknown): Uint8Array;
}

/** How a streaming method talks to its caller; given by the server. */
export interface StreamCall extends CallContext {
  readonly streamId: number;
  readonly channel: StreamChannel;
  /** Sends a frame; false when the call is over. */
  sendFrame(frame: Uint8Array): boolean;
  /** Ends the call with a response. */
  respond(payload: Uint8Array): void;
  /** Ends the call with a data frame that carries nothing and closes the stream. */
  finish(): void;
  /** Ends the call with the status of what the handler threw. */
  fail(error: unknown): void;
  /** Ends the call from outside the handler, whose signal is aborted; `answer` says whether the caller is told. */
  abort(reason: TtrpcError, answer: boolean): void;
  /** The handler has returned; called once, after one of the above. */
  settled(): void;
}

/** What a server tells a running streaming method. */
export interface StreamSink {
  /** A data frame came. */
  data(flags: number, payload: Uint8Array): void;
  /** The call is over for the reason given. */
  aborted(error: Error): void;
}

/** A method with a stream in one or both directions; made by the functions of stream.ts. */
export interface StreamMethod {
  readonly kind: "stream";
  /** Starts the handler. `flags` and `payload` are those of the request. */
  open(call: StreamCall, flags: number, payload: Uint8Array): StreamSink;
}

export type Method = UnaryMethod | StreamMethod;

/** The methods of a service by name. */
export type Service = Readonly<Record<string, Method>>;

/**
 * Describes a unary method.
 * @param request codec of the request, such as a static class of protobufjs
 * @param response codec of the response
 */
export function unary<Request, Response>(
  request: Pick<Codec<never, Request>, "decode">,
  response: Pick<Codec<Response, unknown>, "encode">,
  handler: UnaryHandler<Request, Response>,
): UnaryMethod {
  return new Unary(request, response, handler);
}

class Unary<Request, Response> implements UnaryMethod {
  readonly kind = "unary";
  readonly #request: Pick<Codec<never, Request>, "decode">;
  readonly #response: Pick<Codec<Response, unknown>, "encode">;
  readonly #handler: UnaryHandler<Request, Response>;

  constructor(
    request: Pick<Codec<never, Request>, "decode">,
    response: Pick<Codec<Response, unknown>, "encode">,
    handler: UnaryHandler<Request, Response>,
  ) {
    this.#request = request;
    this.#response = response;
    this.#handler = handler;
  }

  decode(payload: Uint8Array): unknown {
    return this.#request.decode(payload);
  }

  // The server passes only what decode gave, and only what handle gave is encoded.
  handle(request: unknown, context: CallContext): unknown {
    const handler = this.#handler;
    return handler(request as Request, context);
  }

  encode(response: unknown): Uint8Array {
    return this.#response.encode(response as Response).finish();
  }
}
