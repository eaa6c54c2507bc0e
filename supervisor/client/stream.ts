/**
 * Streams that a client opens beside its calls, and what goes over them: progress, questions for credentials, bytes
 * (core/streaming, core/transfer/streaming). The daemon's end is image/stream.
 */

import { containerd, type google } from "../../proto/gen/supervisor.js";
import { typeName } from "../../proto/typeurl.ts";
import type { Api } from "./api.ts";

const types = containerd.types.transfer;
const PREFIX = "containerd.types.transfer.";
/** Bytes of one Data message, as clients of containerd send them. */
const MAX_DATA = 32 << 10;
/** Bytes that the daemon may have under way to us. */
const WINDOW = 4 << 20;
/** How long a daemon may take to accept a stream, in milliseconds. */
const OPEN_MS = 30_000;

/** What goes over a stream. */
export type StreamMessage = google.protobuf.Any.$Properties;

let count = 0;

/** One stream, as its client sees it. */
export class ClientStream {
  /** By which calls refer to it, in the same namespace. */
  readonly id: string;
  readonly #queue: StreamMessage[] = [];
  readonly #stop = new AbortController();
  #messages: AsyncIterator<StreamMessage> | undefined;
  #wake: (() => void) | undefined;
  #isClosed = false;

  private constructor(id: string) {
    this.id = id;
  }

  /** Opens one. @param what part of its id @throws CallError Unimplemented where the daemon has no streams */
  static async open(api: Api, namespace: string, what: string): Promise<ClientStream> {
    const stream = new ClientStream(
      `berth-${what}-${process.pid}-${++count}-${Math.random().toString(36).slice(2, 10)}`,
    );
    const value = containerd.services.streaming.v1.StreamInit.encode({ id: stream.id }).finish();
    stream.send({ type_url: "containerd.services.streaming.v1.StreamInit", value });
    const messages = api.duplex("containerd.services.streaming.v1.Streaming", "Stream", stream.#requests(), {
      namespace,
      signal: stream.#stop.signal,
    });
    stream.#messages = messages[Symbol.asyncIterator]();
    const late = setTimeout(() => stream.cancel(), OPEN_MS);
    try {
      // The daemon answers once it knows the stream.
      await stream.#messages.next();
    } finally {
      clearTimeout(late);
    }
    return stream;
  }

  /** Sends a message. */
  send(message: StreamMessage): void {
    if (this.#isClosed) return;
    this.#queue.push(message);
    this.#wake?.();
  }

  /** The daemon's next message; undefined at the end. @throws CallError */
  async receive(): Promise<StreamMessage | undefined> {
    const next = await this.#messages?.next();
    return next === undefined || next.done ? undefined : next.value;
  }

  /** Sends no more, after what was sent. */
  close(): void {
    this.#isClosed = true;
    this.#wake?.();
  }

  /** Ends it at once. */
  cancel(): void {
    this.close();
    this.#stop.abort();
  }

  async *#requests(): AsyncGenerator<StreamMessage> {
    for (;;) {
      const message = this.#queue.shift();
      if (message !== undefined) yield message;
      else if (this.#isClosed) return;
      else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        this.#wake = undefined;
      }
    }
  }
}

/** Sends bytes over a stream as the daemon lets us, and closes it. @throws what `bytes` throws; CallError */
export async function sendBytes(stream: ClientStream, bytes: AsyncIterable<Uint8Array>): Promise<void> {
  let window = 0;
  const grown = async (): Promise<boolean> => {
    const message = await stream.receive();
    if (message === undefined) return false;
    window += types.WindowUpdate.decode(message.value ?? new Uint8Array()).update;
    return true;
  };
  for await (const part of bytes) {
    for (let at = 0; at < part.length; ) {
      while (window <= 0) if (!(await grown())) return;
      const data = part.subarray(at, at + Math.min(window, MAX_DATA));
      stream.send({ type_url: `${PREFIX}Data`, value: types.Data.encode({ data }).finish() });
      at += data.length;
      window -= data.length;
    }
  }
  stream.close();
}

/** The bytes that the daemon sends over a stream; it is told of room as they are taken. @throws CallError */
export async function* receiveBytes(stream: ClientStream): AsyncGenerator<Uint8Array> {
  let window = 0;
  const grant = (): void => {
    if (window > WINDOW / 2) return;
    const update = WINDOW - window;
    window += update;
    stream.send({ type_url: `${PREFIX}WindowUpdate`, value: types.WindowUpdate.encode({ update }).finish() });
  };
  grant();
  for (;;) {
    const message = await stream.receive();
    if (message === undefined) break;
    if (typeName(message) !== `${PREFIX}Data`) continue;
    const { data } = types.Data.decode(message.value ?? new Uint8Array());
    window -= data.length;
    if (data.length > 0) yield data;
    grant();
  }
  stream.close();
}
