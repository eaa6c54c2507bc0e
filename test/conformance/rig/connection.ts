/** A connection to a shim: calls, and raw bytes for checks of the wire. */

import type { Socket } from "bun";
import { Violation } from "../check.ts";
import type { Transcript } from "./transcript.ts";
import { until } from "./wait.ts";
import { decodeResponse, encodeRequest, type Frame, FrameReader, frame, frameType, type RequestParts } from "./wire.ts";

/** The connection ended before the answer came. */
export class ClosedError extends Error {
  override readonly name = "ClosedError";
}

export class Connection {
  /** Every frame that came, in order. */
  readonly frames: Frame[] = [];
  isOpen = true;
  readonly #pending = new Map<number, PromiseWithResolvers<Uint8Array>>();
  readonly #reader = new FrameReader();
  readonly #transcript: Transcript;
  #socket: Socket | undefined;
  #unsent: Uint8Array = new Uint8Array();
  #stream = 1;

  private constructor(transcript: Transcript) {
    this.#transcript = transcript;
  }

  /** @throws Violation when nobody accepts */
  static async dial(path: string, transcript: Transcript): Promise<Connection> {
    const connection = new Connection(transcript);
    try {
      connection.#socket = await Bun.connect({
        unix: path,
        socket: {
          data: (_, bytes) => connection.#received(bytes),
          drain: () => connection.#flush(),
          close: () => connection.#ended("the shim closed the connection"),
          error: (_, error) => connection.#ended(error.message),
        },
      });
    } catch (error) {
      throw new Violation(`a connection to ${path} to be accepted`, (error as Error).message);
    }
    return connection;
  }

  /** Sends bytes as they are. */
  send(bytes: Uint8Array): void {
    this.#transcript.add("frame", `> ${bytes.subarray(0, 512).toHex()} (${bytes.length} bytes)`);
    this.#unsent = this.#unsent.length === 0 ? bytes : new Uint8Array(Buffer.concat([this.#unsent, bytes]));
    this.#flush();
  }

  #flush(): void {
    if (this.#unsent.length === 0 || this.#socket === undefined) return;
    const written = this.#socket.write(this.#unsent);
    if (written > 0) this.#unsent = this.#unsent.subarray(written);
  }

  /** The id that the next call takes, odd and increasing (TT-3). */
  nextStream(): number {
    const id = this.#stream;
    this.#stream += 2;
    return id;
  }

  /** Makes a unary call. @throws StatusError, or ClosedError when the connection ends first */
  async call(parts: RequestParts): Promise<Uint8Array> {
    const id = this.nextStream();
    const pending = Promise.withResolvers<Uint8Array>();
    if (!this.isOpen) throw new ClosedError("the connection is closed");
    this.#pending.set(id, pending);
    this.send(frame(id, frameType.request, encodeRequest(parts)));
    return decodeResponse(await pending.promise);
  }

  /** Waits for the response on a stream, for calls that were sent as bytes. */
  async response(stream: number, timeout = 5000): Promise<Frame> {
    return await until(
      `a response on stream ${stream}`,
      () => this.frames.find((found) => found.stream === stream && found.type === frameType.response),
      { timeout, received: () => (this.isOpen ? "no answer" : "no answer: the connection was closed") },
    );
  }

  close(): void {
    this.#ended("the kit closed the connection");
    this.#socket?.end();
  }

  #received(bytes: Uint8Array): void {
    this.#transcript.add("frame", `< ${bytes.subarray(0, 512).toHex()} (${bytes.length} bytes)`);
    let frames: Frame[];
    try {
      frames = this.#reader.push(bytes);
    } catch (error) {
      this.#ended((error as Error).message);
      return;
    }
    for (const found of frames) {
      this.frames.push(found);
      const pending = this.#pending.get(found.stream);
      if (found.type !== frameType.response || pending === undefined) continue;
      this.#pending.delete(found.stream);
      pending.resolve(found.payload);
    }
  }

  #ended(reason: string): void {
    this.isOpen = false;
    for (const pending of this.#pending.values()) {
      // A call that nobody waits for any more may end so without anyone to tell.
      pending.promise.catch(() => undefined);
      pending.reject(new ClosedError(reason));
    }
    this.#pending.clear();
  }
}
