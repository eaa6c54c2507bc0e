/**
 * Streams that clients open beside their calls, for what a call cannot carry: bytes, progress, questions for credentials
 * (core/streaming). A call refers to a stream by its id, in the namespace of both.
 */

import { alreadyExists, ContainerdError, notFound } from "../../../proto/errdefs.ts";
import { google } from "../../../proto/gen/supervisor.js";
import { Code } from "../../../proto/ttrpc/status.ts";

/** What goes over a stream. */
export type Message = google.protobuf.Any.$Properties;

/** Messages that wait for one client, at most. */
const MAX_QUEUED = 64;

/** Both ends of one stream, as the daemon sees it. */
export class Stream {
  readonly #incoming: AsyncIterator<Message>;
  /** Encoded. */
  #queue: Uint8Array[] = [];
  #isClosed = false;
  #wake: (() => void) | undefined;
  #interrupt: (() => void) | undefined;
  readonly #room: (() => void)[] = [];
  readonly #signal: AbortSignal;

  /**
   * @param incoming what the client sends
   * @param signal aborted when the client has gone
   */
  constructor(incoming: AsyncIterator<Message>, signal: AbortSignal) {
    this.#incoming = incoming;
    this.#signal = signal;
    signal.addEventListener("abort", () => this.close(), { once: true });
    if (signal.aborted) this.close();
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /**
   * Sends a message, as soon as there is room for it.
   * @param message a message, or the encoding of one
   * @throws ContainerdError Canceled when the stream is closed
   */
  async send(message: Message | Uint8Array): Promise<void> {
    while (!this.#isClosed && this.#queue.length >= MAX_QUEUED) {
      await new Promise<void>((resolve) => this.#room.push(resolve));
    }
    if (this.#isClosed) throw new ContainerdError(Code.Canceled, "stream closed: context canceled");
    this.#queue.push(message instanceof Uint8Array ? message : google.protobuf.Any.encode(message).finish());
    this.#wake?.();
  }

  /**
   * The next message of the client; undefined when it sends no more. One reader.
   * @throws ContainerdError Canceled when the client has gone, or the stream is closed
   */
  async receive(): Promise<Message | undefined> {
    const next = this.#incoming.next();
    const result = await new Promise<IteratorResult<Message> | undefined>((resolve, reject) => {
      this.#interrupt = () => resolve(undefined);
      next.then(resolve, (error: unknown) => (this.#signal.aborted ? resolve(undefined) : reject(error)));
      if (this.#isClosed) this.#interrupt();
    });
    if (result === undefined || this.#signal.aborted) throw new ContainerdError(Code.Canceled, "context canceled");
    return result.done ? undefined : result.value;
  }

  /** Ends the stream, after what was sent. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#wake?.();
    this.#interrupt?.();
    for (const resolve of this.#room.splice(0)) resolve();
  }

  /** What is sent to the client, encoded, as much at once as there is; ends when the stream is closed. One reader. */
  async *outgoing(): AsyncGenerator<readonly Uint8Array[]> {
    for (;;) {
      if (this.#queue.length > 0) {
        const messages = this.#queue;
        this.#queue = [];
        for (const resolve of this.#room.splice(0)) resolve();
        yield messages;
      } else if (this.#isClosed) {
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        this.#wake = undefined;
      }
    }
  }
}

/** Streams that wait to be used, or are. */
export class Streams {
  readonly #streams = new Map<string, Stream>();

  /** @throws ContainerdError AlreadyExists */
  register(namespace: string, id: string, stream: Stream): void {
    const key = `${namespace} ${id}`;
    if (this.#streams.has(key)) throw alreadyExists("already exists");
    this.#streams.set(key, stream);
  }

  /** @throws ContainerdError NotFound */
  get(namespace: string, id: string): Stream {
    const stream = this.#streams.get(`${namespace} ${id}`);
    if (stream === undefined) throw notFound("not found");
    return stream;
  }

  /** Forgets a stream whose call has ended. */
  remove(namespace: string, id: string): void {
    this.#streams.delete(`${namespace} ${id}`);
  }
}
