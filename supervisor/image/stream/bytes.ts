/**
 * Bytes over streams: Data messages one way, and the other way WindowUpdate messages that say how many more bytes may be
 * sent (core/transfer/streaming). Whoever sends without a window would fill the memory of the receiver.
 */

import { ContainerdError, invalidArgument } from "../../../proto/errdefs.ts";
import { containerd } from "../../../proto/gen/supervisor.js";
import { Code } from "../../../proto/ttrpc/status.ts";
import { typeName } from "../../../proto/typeurl.ts";
import type { Message } from "./streams.ts";

const { Data, WindowUpdate } = containerd.types.transfer;

/** Type names on streams of bytes. */
export const DATA = "containerd.types.transfer.Data";
export const WINDOW_UPDATE = "containerd.types.transfer.WindowUpdate";

/** One end of a stream of bytes. */
export interface ByteStream {
  /** @param message a message, or the encoding of one */
  send(message: Message | Uint8Array): Promise<void>;
  receive(): Promise<Message | undefined>;
  close(): void;
}

/** Bytes that a sender may have under way. Clients use 64 KiB; more keeps them from waiting for every answer. */
const WINDOW = 4 << 20;

/**
 * The bytes that a client sends. The stream is closed when the iteration ends, however it does.
 * @throws ContainerdError InvalidArgument when more comes than the window lets through; Canceled
 */
export async function* receiveBytes(stream: ByteStream): AsyncGenerator<Uint8Array> {
  let window = 0;
  const grant = (size: number): Promise<void> => {
    window += size;
    return stream.send({ type_url: WINDOW_UPDATE, value: WindowUpdate.encode({ update: size }).finish() });
  };
  try {
    await grant(WINDOW);
    for (;;) {
      const message = await stream.receive();
      if (message === undefined) return;
      if (typeName(message) !== DATA) continue;
      const { data } = Data.decode(message.value ?? new Uint8Array());
      window -= data.length;
      if (window < 0) throw invalidArgument("more data sent than the window allows: invalid argument");
      if (data.length > 0) yield data;
      if (window <= WINDOW / 2) await grant(WINDOW - window);
    }
  } finally {
    stream.close();
  }
}

/** Longest Data message. Clients of containerd send 32 KiB, and grant windows for two. */
const MAX_DATA = 32 << 10;
/** What clients of containerd grant, whenever less than that is left to them. */
const CLIENT_WINDOW = 64 << 10;
/** Most that a client may let us send at once: what windows are counted in is 32 bits. */
const MAX_WINDOW = 0x7fff_ffff;
/** A client that grants windows otherwise gets this long to take the last bytes, in milliseconds. */
const LAST_WAIT = 1000;

/**
 * Sends bytes to a client, as it lets us.
 *
 * A client that is told of the end by another call may stop before it has taken the last bytes. So the end is sent in
 * such pieces that taking the very last one makes clients of containerd grant another window: {@link end} waits for it.
 */
export class ByteSender {
  readonly #stream: ByteStream;
  #remaining = 0;
  /** The window as the client counts it once it has taken all that was sent. */
  #atClient = CLIENT_WINDOW;
  /** Grants that were received, and those that the client has made once it has taken all that was sent. */
  #grants = { received: 0, expected: 1 };
  #held: Uint8Array = new Uint8Array();
  #wake: (() => void) | undefined;
  #ended: Error | undefined;

  constructor(stream: ByteStream) {
    this.#stream = stream;
    void this.#listen();
  }

  async #listen(): Promise<void> {
    let why: Error = new ContainerdError(Code.Canceled, "the receiver ended the stream: context canceled");
    try {
      for (;;) {
        const message = await this.#stream.receive();
        if (message === undefined) break;
        if (typeName(message) !== WINDOW_UPDATE) continue;
        const { update } = WindowUpdate.decode(message.value ?? new Uint8Array());
        if (update <= 0 || this.#remaining + update > MAX_WINDOW) {
          why = invalidArgument(`invalid window update ${update}: invalid argument`);
          break;
        }
        this.#remaining += update;
        this.#grants.received++;
        this.#wake?.();
      }
    } catch (error) {
      if (error instanceof Error) why = error;
    }
    this.#ended = why;
    this.#wake?.();
  }

  /**
   * Sends bytes; resolves when they are on their way, but for the last 64 KiB.
   * @throws ContainerdError Canceled when the client listens no more
   */
  async write(bytes: Uint8Array): Promise<void> {
    const held = this.#held;
    const ready = held.length + bytes.length - CLIENT_WINDOW;
    if (ready < held.length) {
      if (ready > 0) await this.#send(held.subarray(0, ready), MAX_DATA);
      this.#held = Buffer.concat([held.subarray(Math.max(0, ready)), bytes]);
      return;
    }
    await this.#send(held, MAX_DATA);
    await this.#send(bytes.subarray(0, ready - held.length), MAX_DATA);
    this.#held = bytes.slice(ready - held.length);
  }

  /** Sends the last bytes and ends the stream. Resolves when the client has taken them, as far as that can be told. */
  async end(): Promise<void> {
    // What the client's window has above the point where it grants another; then the last message goes below it.
    const above = this.#atClient - CLIENT_WINDOW;
    await this.#send(this.#held.subarray(0, above), MAX_DATA);
    const last = this.#held.subarray(above);
    await this.#until(() => this.#remaining >= last.length);
    await this.#send(last, CLIENT_WINDOW);
    await this.#until(() => this.#grants.received >= this.#grants.expected);
    this.#stream.close();
  }

  /** Ends the stream at once. */
  close(): void {
    this.#stream.close();
  }

  async #send(bytes: Uint8Array, most: number): Promise<void> {
    for (let offset = 0; offset < bytes.length; ) {
      while (this.#remaining <= 0) {
        if (this.#ended) throw this.#ended;
        await this.#woken();
      }
      const size = Math.min(most, this.#remaining, bytes.length - offset);
      this.#remaining -= size;
      this.#atClient -= size;
      if (this.#atClient < CLIENT_WINDOW) {
        this.#atClient += CLIENT_WINDOW;
        this.#grants.expected++;
      }
      await this.#stream.send(encodeData(bytes.subarray(offset, offset + size)));
      offset += size;
    }
  }

  /** Waits for what clients of containerd do; another client is not waited for long. */
  async #until(isSo: () => boolean): Promise<void> {
    const deadline = performance.now() + LAST_WAIT;
    while (!isSo() && this.#ended === undefined) {
      const left = deadline - performance.now();
      if (left <= 0) return;
      const timer = setTimeout(() => this.#wake?.(), left);
      await this.#woken();
      clearTimeout(timer);
    }
  }

  async #woken(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#wake = undefined;
  }
}

/** How an Any of a Data message begins: field 1 is the type, and field 2 the message. */
const typeField = Buffer.concat([Buffer.from([0x0a, DATA.length]), Buffer.from(DATA), Buffer.from([0x12])]);

/** The Any of a Data message, whose one field is the bytes: made with a single copy of them. */
function encodeData(bytes: Uint8Array): Uint8Array {
  const length = varint(bytes.length);
  const value = varint(1 + length.length + bytes.length);
  const message = Buffer.allocUnsafe(typeField.length + value.length + 1 + length.length + bytes.length);
  let at = 0;
  for (const part of [typeField, value, [0x0a], length, bytes]) {
    message.set(part, at);
    at += part.length;
  }
  return message;
}

/** A number as protobuf encodes it. */
function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 0x7f; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  bytes.push(rest);
  return bytes;
}
