/** The client: one connection, many calls at a time. */

import { Channel, type ChannelHandler, MAX_QUEUED_BYTES, type Transport } from "./channel.ts";
import type { ClientStream, StreamOptions } from "./client-stream.ts";
import { FrameType } from "./frame.ts";
import { type Codec, decodeResponse, messageOf, type RequestParts, requestFrame, tooLarge } from "./message.ts";
import { type KeyValue, Metadata, type MetadataInit } from "./metadata.ts";
import { Code, TtrpcError } from "./status.ts";
import { type Address, connect } from "./transport.ts";

/** How a connection may be made. */
export interface ConnectOptions {
  /** Milliseconds to wait for the connection; no limit when left out. */
  readonly timeoutMs?: number;
  /** Bytes that may wait for a server that does not read, before the connection is closed. Default 256 MiB. */
  readonly maxQueuedBytes?: number;
}

/** What a call may be given. */
export interface CallOptions {
  /**
   * Milliseconds to wait for the answer. The server is told, and the call rejects with DeadlineExceeded when they are
   * over. No limit when left out.
   */
  readonly timeoutMs?: number;
  /**
   * Gives the call up: it rejects with Canceled. ttrpc has no message to tell the server, whose late answer is dropped.
   */
  readonly signal?: AbortSignal;
  readonly metadata?: MetadataInit;
}

/** Longest delay that a timer takes, in milliseconds. A call's longer one is left to the server. */
const MAX_TIMER = 2 ** 31 - 1;

/** @internal A call that waits for frames. */
export interface Pending {
  /** The call's response came; it is out of the client's table. */
  response(payload: Uint8Array): void;
  /** A data frame came. */
  data(flags: number, payload: Uint8Array): void;
  /** The call can have no answer any more; it is out of the client's table. */
  failed(error: TtrpcError): void;
}

/** A connection to a ttrpc server. Calls may be made concurrently. */
export class Client implements ChannelHandler {
  /** @internal */
  readonly channel: Channel;
  /** Resolves, with the reason or undefined, when the connection is closed by either side. Never rejects. */
  readonly closed: Promise<Error | undefined>;
  readonly #target: string;
  readonly #pending = new Map<number, Pending>();
  #resolveClosed: (error: Error | undefined) => void = () => undefined;
  #nextStreamId = 1;

  /** A client on a connection that was made elsewhere; see {@link Client.connect}. `target` names it in errors. */
  constructor(transport: Transport, target: string, options: ConnectOptions = {}) {
    this.#target = target;
    this.channel = new Channel(transport, this, options.maxQueuedBytes ?? MAX_QUEUED_BYTES);
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
  }

  /**
   * Connects to a unix socket.
   * @throws {TtrpcError} Unavailable, with the errno, when nobody listens there; DeadlineExceeded when the time is over;
   * InvalidArgument when the path is longer than 107 bytes
   */
  static async connect(address: Address, options: ConnectOptions = {}): Promise<Client> {
    let client: Client | undefined;
    await connect(address, options.timeoutMs, (transport) => {
      client = new Client(transport, address.unix, options);
      return client.channel;
    });
    if (client === undefined) throw new TtrpcError(Code.Internal, "connected without a socket");
    return client;
  }

  /** True until either side has closed the connection. */
  get isOpen(): boolean {
    return this.channel.isOpen;
  }

  /** Number of calls that wait for an answer. */
  get inFlight(): number {
    return this.#pending.size;
  }

  /**
   * Makes a unary call.
   * @param request codec of the request message, such as a static class of protobufjs
   * @param response codec of the response message
   * @throws {TtrpcError} (as a rejection) what the server answered, or: DeadlineExceeded, Canceled, Unavailable when the
   * connection is or gets closed, ResourceExhausted when either message exceeds 4 MiB
   */
  call<Request, Response>(
    service: string,
    method: string,
    request: Pick<Codec<Request, unknown>, "encode">,
    response: Pick<Codec<never, Response>, "decode">,
    message: Request,
    options: CallOptions = {},
  ): Promise<Response> {
    return new Promise((resolve, reject) => {
      const payload = request.encode(message).finish();
      const call = new UnaryCall(this, response, options, resolve, reject);
      call.start({ service, method, payload, timeoutMs: options.timeoutMs, metadata: pairsOf(options.metadata) });
    });
  }

  /**
   * Opens a stream; the code for it is loaded when it is first asked for.
   * @param options.kind "client" streams requests to one response, "server" one request to a stream of responses,
   * "bidi" both ways
   * @throws {TtrpcError} as {@link call} does
   */
  async stream<Request, Response>(
    service: string,
    method: string,
    request: Pick<Codec<Request, unknown>, "encode">,
    response: Pick<Codec<never, Response>, "decode">,
    options: StreamOptions<Request>,
  ): Promise<ClientStream<Request, Response>> {
    const { openStream } = await import("./client-stream.ts");
    return openStream(this, service, method, request, response, options);
  }

  /** Closes the connection at once. Calls that wait are rejected with Unavailable. */
  close(): void {
    this.channel.destroy();
  }

  /** Calls `callback` once the connection is closed by either side, with the reason where there is one. */
  onClose(callback: (error: Error | undefined) => void): void {
    void this.closed.then(callback);
  }

  /** Lets the process live for the sake of this connection (the default), or not. */
  keepAlive(yes: boolean): void {
    this.channel.keepAlive(yes);
  }

  /**
   * @internal Sends a request and enters it into the table. The id is taken only for a request that is really sent, and
   * in the order of sending, so ids on the wire always increase.
   * @throws {TtrpcError} Unavailable on a closed connection; ResourceExhausted when the request is too large
   */
  begin(pending: Pending, flags: number, parts: RequestParts): number {
    const streamId = this.#nextStreamId;
    if (!this.isOpen) throw this.#closedError(undefined);
    if (streamId > 0xffff_ffff) throw new TtrpcError(Code.Unavailable, "the stream ids of this connection are used up");
    const frame = requestFrame(streamId, flags, parts);
    this.#nextStreamId += 2;
    this.#pending.set(streamId, pending);
    if (!this.channel.send(frame) && this.#pending.delete(streamId)) throw this.#closedError(undefined);
    return streamId;
  }

  /** @internal Frames for this id are dropped from now on. */
  forget(streamId: number): void {
    this.#pending.delete(streamId);
  }

  #closedError(cause: Error | undefined): TtrpcError {
    const why = cause === undefined ? "" : `: ${cause.message}`;
    return new TtrpcError(Code.Unavailable, `the connection to ${this.#target} is closed${why}`, { cause });
  }

  frame(streamId: number, type: number, flags: number, payload: Uint8Array): void {
    const pending = this.#pending.get(streamId);
    if (pending === undefined) return;
    if (type === FrameType.Response) {
      this.#pending.delete(streamId);
      pending.response(payload);
    } else if (type === FrameType.Data) {
      pending.data(flags, payload);
    }
  }

  oversized(streamId: number, _type: number, _flags: number, length: number): void {
    const pending = this.#pending.get(streamId);
    this.#pending.delete(streamId);
    pending?.failed(tooLarge(length));
  }

  disconnected(error: Error | undefined): void {
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    const reason = this.#closedError(error);
    for (const call of pending) call.failed(reason);
    this.#resolveClosed(error);
  }
}

/** @internal The pairs to send; undefined when there are none. */
export function pairsOf(init: MetadataInit | undefined): KeyValue[] | undefined {
  if (init === undefined) return undefined;
  return (init instanceof Metadata ? init : new Metadata(init)).toPairs();
}

/** @internal The error of a call that its caller has given up. */
export function canceledError(signal: AbortSignal): TtrpcError {
  const reason: unknown = signal.reason;
  const timedOut = reason instanceof Error && reason.name === "TimeoutError";
  const code = timedOut ? Code.DeadlineExceeded : Code.Canceled;
  return new TtrpcError(code, timedOut ? "context deadline exceeded" : "context canceled", { cause: reason });
}

/** @internal Watches a call's deadline and signal, and calls `giveUp` once for the first of them. */
export class Watch {
  readonly #signal: AbortSignal | undefined;
  readonly #giveUp: (error: TtrpcError) => void;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @throws {TtrpcError} when the deadline is over or the signal aborted already */
  constructor(options: CallOptions, giveUp: (error: TtrpcError) => void) {
    this.#giveUp = giveUp;
    this.#signal = options.signal;
    const { timeoutMs, signal } = options;
    if (signal?.aborted) throw canceledError(signal);
    if (timeoutMs !== undefined) {
      if (!(timeoutMs > 0)) throw new TtrpcError(Code.DeadlineExceeded, "context deadline exceeded");
      if (timeoutMs <= MAX_TIMER) {
        this.#timer = setTimeout(() => {
          this.stop();
          giveUp(new TtrpcError(Code.DeadlineExceeded, "context deadline exceeded"));
        }, timeoutMs);
      }
    }
    signal?.addEventListener("abort", this);
  }

  /** @internal The signal fired. */
  handleEvent(): void {
    const signal = this.#signal;
    this.stop();
    if (signal !== undefined) this.#giveUp(canceledError(signal));
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener("abort", this);
  }
}

class UnaryCall<Response> implements Pending {
  readonly #client: Client;
  readonly #codec: Pick<Codec<never, Response>, "decode">;
  readonly #resolve: (response: Response) => void;
  readonly #reject: (error: TtrpcError) => void;
  readonly #watch: Watch | undefined;
  #streamId = 0;

  constructor(
    client: Client,
    codec: Pick<Codec<never, Response>, "decode">,
    options: CallOptions,
    resolve: (response: Response) => void,
    reject: (error: TtrpcError) => void,
  ) {
    this.#client = client;
    this.#codec = codec;
    this.#resolve = resolve;
    this.#reject = reject;
    if (options.timeoutMs !== undefined || options.signal !== undefined) {
      this.#watch = new Watch(options, (error) => this.#give(error));
    }
  }

  start(parts: RequestParts): void {
    try {
      this.#streamId = this.#client.begin(this, 0, parts);
    } catch (error) {
      this.#watch?.stop();
      throw error;
    }
  }

  response(payload: Uint8Array): void {
    this.#watch?.stop();
    const body = decodeResponse(payload);
    if (body instanceof TtrpcError) {
      this.#reject(body);
      return;
    }
    let message: Response;
    try {
      message = this.#codec.decode(body);
    } catch (error) {
      const text = `cannot decode the response: ${messageOf(error)}`;
      this.#reject(new TtrpcError(Code.Internal, text, { cause: error }));
      return;
    }
    this.#resolve(message);
  }

  data(_flags: number, _payload: Uint8Array): void {
    this.#give(new TtrpcError(Code.Internal, "the server sent stream data in answer to a unary call"));
  }

  #give(error: TtrpcError): void {
    this.#client.forget(this.#streamId);
    this.failed(error);
  }

  failed(error: TtrpcError): void {
    this.#watch?.stop();
    this.#reject(error);
  }
}
