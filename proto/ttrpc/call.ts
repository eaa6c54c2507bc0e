/** One call at a server: the context that its handler sees, and the answer that it may give once. */

import type { Channel } from "./channel.ts";
import { encodeFrame, Flag, FrameType } from "./frame.ts";
import { messageOf, responseFrame, statusFrame } from "./message.ts";
import { type KeyValue, Metadata } from "./metadata.ts";
import type { Method, StreamCall, StreamMethod, StreamSink, UnaryMethod } from "./service.ts";
import { Code, type Status, TtrpcError } from "./status.ts";

/** Longest delay that a timer takes, in milliseconds; a longer one is set in steps. */
const MAX_TIMER = 2 ** 31 - 1;

/** The connection that a call came over. */
export interface CallOwner {
  readonly channel: Channel;
  /** The status to answer with for what a handler threw. */
  statusFor(error: unknown): Status;
  /** The call has its answer, or nobody waits for one: it is no longer of this connection. */
  ended(call: Call): void;
  /** The handler has returned. */
  settled(): void;
  /** Something went wrong that no caller is told. */
  report(error: unknown, call: Call): void;
}

/**
 * A call from its request to the end of its handler. The caller is answered at most once: the first of the handler's
 * result, the deadline, a protocol error and the end of the connection wins, the others are dropped (TT-6).
 */
export class Call implements StreamCall {
  readonly streamId: number;
  readonly service: string;
  readonly method: string;
  readonly deadline: number | undefined;
  readonly #owner: CallOwner;
  readonly #descriptor: Method;
  readonly #pairs: readonly KeyValue[] | undefined;
  #metadata: Metadata | undefined;
  #controller: AbortController | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #sink: StreamSink | undefined;
  /** Why the call was aborted. */
  #reason: Error | undefined;
  #answered = false;

  constructor(
    owner: CallOwner,
    streamId: number,
    service: string,
    method: string,
    descriptor: Method,
    pairs: readonly KeyValue[] | null | undefined,
    timeoutMs: number | undefined,
  ) {
    this.#owner = owner;
    this.streamId = streamId;
    this.service = service;
    this.method = method;
    this.#descriptor = descriptor;
    this.#pairs = pairs?.length ? pairs : undefined;
    this.deadline = timeoutMs === undefined ? undefined : Date.now() + timeoutMs;
    if (timeoutMs !== undefined) this.#arm(timeoutMs);
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#reason !== undefined) this.#controller.abort(this.#reason);
    }
    return this.#controller.signal;
  }

  get metadata(): Metadata {
    this.#metadata ??= Metadata.fromPairs(this.#pairs);
    return this.#metadata;
  }

  get channel(): Channel {
    return this.#owner.channel;
  }

  /** True for a call whose client may send data frames. */
  get isStream(): boolean {
    return this.#descriptor.kind === "stream";
  }

  #arm(delay: number): void {
    const step = Math.min(delay, MAX_TIMER);
    this.#timer = setTimeout(
      () => {
        if (delay > step) this.#arm(delay - step);
        else this.abort(new TtrpcError(Code.DeadlineExceeded, "context deadline exceeded"), true);
      },
      Math.max(0, step),
    );
  }

  /** Runs the handler. Called once, after the call has been entered into the connection's table. */
  start(flags: number, payload: Uint8Array): void {
    if (this.#descriptor.kind === "unary") this.#startUnary(this.#descriptor, payload);
    else this.#startStream(this.#descriptor, flags, payload);
  }

  #startUnary(method: UnaryMethod, payload: Uint8Array): void {
    let result: unknown;
    try {
      let request: unknown;
      try {
        request = method.decode(payload);
      } catch (error) {
        throw new TtrpcError(Code.Internal, `ttrpc: error unmarshalling payload: ${messageOf(error)}`);
      }
      result = method.handle(request, this);
    } catch (error) {
      this.#handlerFailed(error);
      return;
    }
    if (isPromiseLike(result)) {
      result.then(
        (response) => this.#handlerReturned(method, response),
        (error: unknown) => this.#handlerFailed(error),
      );
    } else {
      this.#handlerReturned(method, result);
    }
  }

  #startStream(method: StreamMethod, flags: number, payload: Uint8Array): void {
    try {
      const sink = method.open(this, flags, payload);
      if (!this.#answered) this.#sink = sink;
    } catch (error) {
      this.#handlerFailed(error);
    }
  }

  #handlerReturned(method: UnaryMethod, response: unknown): void {
    if (!this.#answered) {
      try {
        this.respond(method.encode(response));
      } catch (error) {
        this.#owner.report(error, this);
        this.fail(new TtrpcError(Code.Internal, `ttrpc: error marshalling the response: ${messageOf(error)}`));
      }
    }
    this.settled();
  }

  #handlerFailed(error: unknown): void {
    this.fail(error);
    this.settled();
  }

  /** A data frame of this stream came. */
  data(flags: number, payload: Uint8Array): void {
    if (this.#sink !== undefined) {
      this.#sink.data(flags, payload);
    } else if (payload.length > 0 || !(flags & Flag.RemoteClosed)) {
      this.abort(new TtrpcError(Code.InvalidArgument, "data on a unary stream"), true);
    }
  }

  sendFrame(frame: Uint8Array): boolean {
    return !this.#answered && this.channel.send(frame);
  }

  respond(payload: Uint8Array): void {
    let frame: Uint8Array;
    try {
      frame = responseFrame(this.streamId, payload);
    } catch (error) {
      this.fail(error);
      return;
    }
    this.#answer(frame);
  }

  finish(): void {
    this.#answer(encodeFrame(this.streamId, FrameType.Data, Flag.RemoteClosed | Flag.NoData));
  }

  fail(error: unknown): void {
    if (this.#answered) {
      // The handler of an aborted call most often fails because of the abort: that is no news.
      if (error !== this.#reason && !isAbort(error)) this.#owner.report(error, this);
      return;
    }
    this.#answer(statusFrame(this.streamId, this.#owner.statusFor(error)));
  }

  settled(): void {
    this.#owner.settled();
  }

  #answer(frame: Uint8Array): void {
    if (this.#answered) return;
    this.#end();
    this.channel.send(frame);
    this.#owner.ended(this);
  }

  #end(): void {
    this.#answered = true;
    this.#sink = undefined;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  abort(reason: TtrpcError, answer: boolean): void {
    if (this.#answered) return;
    const sink = this.#sink;
    this.#reason = reason;
    this.#end();
    if (answer) this.channel.send(statusFrame(this.streamId, reason));
    this.#owner.ended(this);
    sink?.aborted(reason);
    this.#controller?.abort(reason);
  }
}

function isPromiseLike(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}

function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === "AbortError";
}
