/**
 * Streams: messages in, messages out, with bounds on both. Shared by the server's streaming methods and the client's
 * streams; nothing of a unary call needs this file.
 */

import { encodeFrame, FrameType, MAX_PAYLOAD } from "./frame.ts";
import { type Codec, messageOf, tooLarge } from "./message.ts";
import { Code, TtrpcError } from "./status.ts";

/** Messages that a stream holds for a reader who is behind. */
const MAX_BUFFERED = 64;
/** Bytes of them; one message may exceed it. */
const MAX_BUFFERED_BYTES = 1 << 20;
/**
 * Milliseconds that a connection waits for a full stream's reader before that stream is failed, so that one slow reader
 * cannot stall the others (ttrpc stream.go, ErrStreamFull).
 */
export const STREAM_FULL_MS = 1000;

/** What a stream needs of its channel. */
export interface StreamChannel {
  readonly isFull: boolean;
  whenDrained(waiter: { drained(): void }): void;
  forget(waiter: { drained(): void }): void;
  hold(): void;
  release(): void;
}

/** The messages that come in on a stream. Read them with `for await`, or one at a time with {@link receive}. */
export interface Receiver<Message> extends AsyncIterable<Message> {
  /**
   * The next message, or undefined when the peer sends no more.
   * @throws {TtrpcError} why the stream failed, after the messages that came before
   */
  receive(): Promise<Message | undefined>;
}

/** Where the messages of a stream go out. */
export interface Sender<Message> {
  /**
   * Sends a message; resolves when there is room for the next. Not awaiting it is allowed and costs memory.
   * @throws {TtrpcError} (as a rejection) ResourceExhausted when the message exceeds 4 MiB; the reason of the stream's
   * end when it has ended
   */
  send(message: Message): Promise<void>;
}

/**
 * Holds the payloads of a stream until they are read. When it is full the connection is not read from; if its reader
 * takes nothing for {@link STREAM_FULL_MS}, `onStalled` is called and the connection goes on.
 */
export class ReceiveBuffer<Message> implements Receiver<Message> {
  readonly #codec: Pick<Codec<never, Message>, "decode">;
  readonly #channel: StreamChannel;
  readonly #onStalled: (error: TtrpcError) => void;
  readonly #payloads: Uint8Array[] = [];
  #bytes = 0;
  #readers: PromiseWithResolvers<Message | undefined>[] = [];
  #ended = false;
  #error: Error | undefined;
  #stall: ReturnType<typeof setTimeout> | undefined;

  constructor(
    codec: Pick<Codec<never, Message>, "decode">,
    channel: StreamChannel,
    onStalled: (error: TtrpcError) => void,
  ) {
    this.#codec = codec;
    this.#channel = channel;
    this.#onStalled = onStalled;
  }

  /** True when no further message can be added. */
  get isEnded(): boolean {
    return this.#ended;
  }

  /** Adds a message. The payload is copied when it has to wait, since it may be part of a larger chunk. */
  push(payload: Uint8Array): void {
    if (this.#ended) return;
    const reader = this.#readers.shift();
    if (reader !== undefined) {
      this.#deliver(reader, payload);
      return;
    }
    this.#payloads.push(payload.slice());
    this.#bytes += payload.length;
    if (this.#isFull && this.#stall === undefined) {
      this.#channel.hold();
      this.#stall = setTimeout(() => {
        const text = `the stream's reader has taken nothing for ${STREAM_FULL_MS} ms`;
        this.#onStalled(new TtrpcError(Code.ResourceExhausted, text));
        this.#release();
      }, STREAM_FULL_MS);
    }
  }

  get #isFull(): boolean {
    return this.#payloads.length >= MAX_BUFFERED || this.#bytes >= MAX_BUFFERED_BYTES;
  }

  #release(): void {
    if (this.#stall === undefined) return;
    clearTimeout(this.#stall);
    this.#stall = undefined;
    this.#channel.release();
  }

  /** No more messages come: for a reason, or since the peer has sent the last. What is held can still be read. */
  end(error?: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    const readers = this.#readers;
    this.#readers = [];
    for (const reader of readers) this.#deliverEnd(reader);
    this.#release();
  }

  /** As {@link end}, and what is held is dropped. */
  drop(error: Error): void {
    this.#payloads.length = 0;
    this.#bytes = 0;
    if (this.#ended) this.#error ??= error;
    else this.end(error);
  }

  receive(): Promise<Message | undefined> {
    const reader = Promise.withResolvers<Message | undefined>();
    // A stream's failure is told to everyone who awaits it; a receive that nobody awaits is no unhandled rejection.
    reader.promise.catch(ignore);
    const payload = this.#payloads.shift();
    if (payload !== undefined) {
      this.#bytes -= payload.length;
      this.#deliver(reader, payload);
      if (!this.#isFull) this.#release();
    } else if (this.#ended) {
      this.#deliverEnd(reader);
    } else {
      this.#readers.push(reader);
    }
    return reader.promise;
  }

  #deliver(reader: PromiseWithResolvers<Message | undefined>, payload: Uint8Array): void {
    try {
      reader.resolve(this.#codec.decode(payload));
    } catch (error) {
      reader.reject(new TtrpcError(Code.Internal, `ttrpc: error unmarshalling payload: ${messageOf(error)}`));
    }
  }

  #deliverEnd(reader: PromiseWithResolvers<Message | undefined>): void {
    if (this.#error === undefined) reader.resolve(undefined);
    else reader.reject(this.#error);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Message, void, undefined> {
    for (let message = await this.receive(); message !== undefined; message = await this.receive()) yield message;
  }
}

function ignore(): void {
  // A rejection that someone else may still look at.
}

/** A rejection that is no unhandled one when the sender does not await it. */
function rejected(error: Error): Promise<never> {
  const promise = Promise.reject(error);
  promise.catch(ignore);
  return promise;
}

/** Sends messages as data frames, and lets the sender wait while the connection's write queue is full. */
export class SendQueue<Message> implements Sender<Message> {
  readonly #codec: Pick<Codec<Message, unknown>, "encode">;
  readonly #channel: StreamChannel;
  readonly #write: (frame: Uint8Array) => boolean;
  #streamId = 0;
  #waiting: PromiseWithResolvers<void> | undefined;
  #error: Error | undefined;

  constructor(
    codec: Pick<Codec<Message, unknown>, "encode">,
    channel: StreamChannel,
    write: (frame: Uint8Array) => boolean,
  ) {
    this.#codec = codec;
    this.#channel = channel;
    this.#write = write;
  }

  /** Sets the stream's id, known once its request has been sent. */
  set streamId(id: number) {
    this.#streamId = id;
  }

  send(message: Message): Promise<void> {
    if (this.#error !== undefined) return rejected(this.#error);
    let payload: Uint8Array;
    try {
      payload = this.#codec.encode(message).finish();
      if (payload.length > MAX_PAYLOAD) throw tooLarge(payload.length);
    } catch (error) {
      const text = `ttrpc: error marshalling the message: ${messageOf(error)}`;
      return rejected(error instanceof TtrpcError ? error : new TtrpcError(Code.Internal, text));
    }
    if (!this.#write(encodeFrame(this.#streamId, FrameType.Data, 0, payload))) {
      return rejected(this.#error ?? new TtrpcError(Code.Unavailable, "the connection is closed"));
    }
    if (!this.#channel.isFull) return Promise.resolve();
    if (this.#waiting === undefined) {
      this.#waiting = Promise.withResolvers();
      this.#waiting.promise.catch(ignore);
      this.#channel.whenDrained(this);
    }
    return this.#waiting.promise;
  }

  /** @internal The channel's write queue is short again. */
  drained(): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (this.#error === undefined) waiting?.resolve();
    else waiting?.reject(this.#error);
  }

  /** Nothing more can be sent. A sender that waits is told the reason. */
  close(error: Error): void {
    if (this.#error !== undefined) return;
    this.#error = error;
    if (this.#waiting === undefined) return;
    this.#channel.forget(this);
    this.drained();
  }
}
