/** The server: services by name, connections, calls (contract 1.7). */

import { ttrpc } from "../gen/ttrpc.js";
import { Call, type CallOwner } from "./call.ts";
import { Channel, type ChannelHandler, MAX_QUEUED_BYTES, type Transport } from "./channel.ts";
import { Flag, FrameType } from "./frame.ts";
import { messageOf, statusFrame, timeoutMsOf, tooLarge } from "./message.ts";
import type { Method, Service } from "./service.ts";
import { Code, type Status, statusOf, TtrpcError } from "./status.ts";
import { type Address, type Listener, listen } from "./transport.ts";

/** How a server may be set up. */
export interface ServerOptions {
  /**
   * The status for what a handler threw; undefined leaves it to {@link statusOf}. For an application with an error class
   * of its own.
   */
  readonly mapError?: (error: unknown) => Status | undefined;
  /** Told of failures that no caller can be told of: a late error, an answer that cannot be encoded. */
  readonly onError?: (error: unknown, where: string) => void;
  /** Told when the last connection has gone (true), and when there is one again (false). */
  readonly onIdleChange?: (idle: boolean) => void;
  /** Calls that one connection may have running; a further one is answered ResourceExhausted. Default 4096. */
  readonly maxConcurrent?: number;
  /** Bytes that may wait for a peer that does not read, before its connection is closed. Default 256 MiB. */
  readonly maxQueuedBytes?: number;
}

const DEFAULT_MAX_CONCURRENT = 4096;

const EVEN_ID = "StreamID must be odd for client initiated streams";

/** Milliseconds that {@link Server.shutdown} waits for running handlers unless told otherwise. */
const DEFAULT_GRACE_MS = 10_000;

/** Serves ttrpc calls on unix sockets. Calls of one connection run concurrently. */
export class Server {
  /** Told when the last connection has gone (true), and when there is one again (false). */
  onIdleChange: ((idle: boolean) => void) | undefined;
  readonly #options: ServerOptions;
  readonly #services = new Map<string, Map<string, Method>>();
  readonly #connections = new Set<Connection>();
  readonly #listeners = new Set<Listener>();
  #running = 0;
  #shutdown: PromiseWithResolvers<void> | undefined;

  constructor(options: ServerOptions = {}) {
    this.#options = options;
    this.onIdleChange = options.onIdleChange;
  }

  /**
   * Adds a service under its full name, such as "containerd.task.v2.Task". The same methods may be registered under
   * several names.
   * @throws {TtrpcError} AlreadyExists when the name is taken
   */
  register(name: string, service: Service): this {
    if (this.#services.has(name)) throw new TtrpcError(Code.AlreadyExists, `service ${name} is registered already`);
    this.#services.set(name, new Map(Object.entries(service)));
    return this;
  }

  /**
   * Listens on a unix socket; when this returns, clients can connect.
   * @throws {TtrpcError} AlreadyExists with errno EADDRINUSE when the path exists, even if nobody listens there;
   * InvalidArgument when the path is longer than 107 bytes; Unavailable after a shutdown; else by errno
   */
  listen(address: Address): Listener {
    if (this.#shutdown) throw new TtrpcError(Code.Unavailable, "the server has been shut down");
    const listener = listen(address, (transport) => this.accept(transport));
    this.#listeners.add(listener);
    return {
      address,
      keepAlive: (yes) => listener.keepAlive(yes),
      stop: () => {
        if (this.#listeners.delete(listener)) listener.stop();
      },
    };
  }

  /** Serves a connection that was made elsewhere; undefined when the server is shut down. */
  accept(transport: Transport): Channel | undefined {
    if (this.#shutdown) return undefined;
    const connection = new Connection(this, transport, this.#options.maxQueuedBytes ?? MAX_QUEUED_BYTES);
    this.#connections.add(connection);
    if (this.#connections.size === 1) this.#tellIdle(false);
    return connection.channel;
  }

  /** Number of open connections. */
  get connections(): number {
    return this.#connections.size;
  }

  /** Number of handlers that have not returned yet, whether or not someone still waits for their answer. */
  get inFlight(): number {
    return this.#running;
  }

  /**
   * Stops listening, answers new calls with Unavailable, lets running handlers return and their answers be written, then
   * closes the connections. After `graceMs` milliseconds (default 10,000) the calls that still run are aborted and
   * answered Unavailable, and the connections are closed. Resolves in every case. A handler that calls it must not await
   * it: it would wait for itself.
   */
  shutdown(options: { readonly graceMs?: number } = {}): Promise<void> {
    const ended = this.#shutdown ?? Promise.withResolvers<void>();
    this.#shutdown = ended;
    for (const listener of this.#listeners) listener.stop();
    this.#listeners.clear();
    for (const connection of this.#connections) connection.endWhenQuiet();
    this.#checkShutdown();
    const timer = setTimeout(() => {
      const reason = new TtrpcError(Code.Unavailable, "the server has been shut down");
      for (const connection of [...this.#connections]) connection.abort(reason);
      ended.resolve();
    }, options.graceMs ?? DEFAULT_GRACE_MS);
    return ended.promise.finally(() => clearTimeout(timer));
  }

  #checkShutdown(): void {
    if (this.#connections.size === 0 && this.#running === 0) this.#shutdown?.resolve();
  }

  #tellIdle(idle: boolean): void {
    try {
      this.onIdleChange?.(idle);
    } catch (error) {
      this.report(error, "onIdleChange");
    }
  }

  /** @internal */
  get isShuttingDown(): boolean {
    return this.#shutdown !== undefined;
  }

  /** @internal */
  get maxConcurrent(): number {
    return this.#options.maxConcurrent ?? DEFAULT_MAX_CONCURRENT;
  }

  /** @internal @throws {TtrpcError} Unimplemented when there is no such service or method (TT-5) */
  find(service: string, name: string): Method {
    const methods = this.#services.get(service);
    if (methods === undefined) throw new TtrpcError(Code.Unimplemented, `service ${service}`);
    const method = methods.get(name);
    if (method === undefined) throw new TtrpcError(Code.Unimplemented, `method ${name}`);
    return method;
  }

  /** @internal */
  statusFor(error: unknown): Status {
    let status: Status | undefined;
    try {
      status = this.#options.mapError?.(error);
    } catch (mapping) {
      this.report(mapping, "mapError");
    }
    status ??= statusOf(error);
    return status.code === Code.OK ? { code: Code.Unknown, message: status.message } : status;
  }

  /** @internal */
  report(error: unknown, where: string): void {
    try {
      this.#options.onError?.(error, where);
    } catch {
      // There is nobody left to tell.
    }
  }

  /** @internal */
  handlerStarted(): void {
    this.#running++;
  }

  /** @internal */
  handlerSettled(): void {
    this.#running--;
    this.#checkShutdown();
  }

  /** @internal */
  connectionClosed(connection: Connection): void {
    if (!this.#connections.delete(connection)) return;
    if (this.#connections.size === 0) this.#tellIdle(true);
    this.#checkShutdown();
  }
}

/** One client's connection. */
class Connection implements ChannelHandler, CallOwner {
  readonly channel: Channel;
  readonly #server: Server;
  readonly #calls = new Map<number, Call>();
  #lastStreamId = 0;
  #held = false;

  constructor(server: Server, transport: Transport, maxQueuedBytes: number) {
    this.#server = server;
    this.channel = new Channel(transport, this, maxQueuedBytes);
  }

  frame(streamId: number, type: number, flags: number, payload: Uint8Array): void {
    if (type === FrameType.Request) this.#request(streamId, flags, payload);
    else if (type === FrameType.Data) this.#data(streamId, flags, payload);
    // A client that asks without reading the answers is not read from until it does, so they stay bounded.
    if (this.channel.isFull && !this.#held) {
      this.#held = true;
      this.channel.hold();
    }
  }

  drained(): void {
    if (!this.#held) return;
    this.#held = false;
    this.channel.release();
  }

  oversized(streamId: number, type: number, _flags: number, length: number): void {
    const error = tooLarge(length);
    const call = type === FrameType.Data ? this.#calls.get(streamId) : undefined;
    if (call === undefined) this.#refuse(streamId, error);
    else call.abort(error, true);
  }

  disconnected(error: Error | undefined): void {
    const reason = new TtrpcError(Code.Canceled, "the caller's connection is closed", { cause: error });
    for (const call of [...this.#calls.values()]) call.abort(reason, false);
    this.#server.connectionClosed(this);
  }

  #refuse(streamId: number, status: Status): void {
    this.channel.send(statusFrame(streamId, status));
  }

  #request(streamId: number, flags: number, payload: Uint8Array): void {
    let call: Call;
    let request: ttrpc.Request.$Shape;
    try {
      this.#admitId(streamId);
      request = decodeRequest(payload);
      call = this.#admit(streamId, request);
    } catch (error) {
      this.#refuse(streamId, statusOf(error));
      return;
    }
    this.#calls.set(streamId, call);
    this.#server.handlerStarted();
    call.start(flags, request.payload ?? new Uint8Array(0));
  }

  /** @throws {TtrpcError} InvalidArgument when the id is even, or not above all before it (TT-3) */
  #admitId(streamId: number): void {
    if (streamId % 2 !== 1) throw new TtrpcError(Code.InvalidArgument, EVEN_ID);
    if (streamId <= this.#lastStreamId) {
      throw new TtrpcError(Code.InvalidArgument, "StreamID cannot be re-used and must increment");
    }
    this.#lastStreamId = streamId;
  }

  #admit(streamId: number, request: ttrpc.Request.$Shape): Call {
    const service = request.service ?? "";
    const name = request.method ?? "";
    const method = this.#server.find(service, name);
    if (this.#server.isShuttingDown) throw new TtrpcError(Code.Unavailable, "the server is shutting down");
    if (this.#calls.size >= this.#server.maxConcurrent) {
      const text = `${this.#calls.size} calls are running on this connection, which is the limit`;
      throw new TtrpcError(Code.ResourceExhausted, text);
    }
    const timeoutMs = timeoutMsOf(request.timeoutNano ?? 0);
    return new Call(this, streamId, service, name, method, request.metadata, timeoutMs);
  }

  #data(streamId: number, flags: number, payload: Uint8Array): void {
    const call = this.#calls.get(streamId);
    if (call !== undefined) {
      call.data(flags, payload);
      return;
    }
    // Its last word may cross ours: a close of a stream that has just ended is no error.
    const isOdd = streamId % 2 === 1;
    const isClose = payload.length === 0 && (flags & Flag.RemoteClosed) !== 0;
    if (isOdd && isClose && streamId <= this.#lastStreamId) return;
    this.#refuse(streamId, { code: Code.InvalidArgument, message: isOdd ? "StreamID is no longer active" : EVEN_ID });
  }

  statusFor(error: unknown): Status {
    return this.#server.statusFor(error);
  }

  ended(call: Call): void {
    if (this.#calls.get(call.streamId) === call) this.#calls.delete(call.streamId);
    if (this.#server.isShuttingDown) this.endWhenQuiet();
  }

  settled(): void {
    this.#server.handlerSettled();
  }

  report(error: unknown, call: Call): void {
    this.#server.report(error, `${call.service}/${call.method}`);
  }

  /** Ends the connection when no call waits for its answer; else its last call's end will. */
  endWhenQuiet(): void {
    if (this.#calls.size === 0) this.channel.end();
  }

  /** Answers every call with the reason, and closes. */
  abort(reason: TtrpcError): void {
    for (const call of [...this.#calls.values()]) call.abort(reason, true);
    this.channel.destroy();
  }
}

/** @throws {TtrpcError} InvalidArgument when the bytes are no request */
function decodeRequest(payload: Uint8Array): ttrpc.Request.$Shape {
  try {
    return ttrpc.Request.decode(payload);
  } catch (error) {
    throw new TtrpcError(Code.InvalidArgument, `unmarshal request error: ${messageOf(error)}`);
  }
}
