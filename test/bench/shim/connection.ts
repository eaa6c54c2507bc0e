/**
 * The smallest ttrpc client that measures: unary calls, many at once, on one connection (TT-1 to TT-4). It shares no
 * code with the shim's own ttrpc, so that a change there cannot flatter or spoil the figures.
 */

import type { Socket } from "bun";
import { ttrpc } from "../../../proto/gen/ttrpc.js";

/** The shim answered a call with a status other than OK. */
export class CallError extends Error {
  override name = "CallError";
  readonly code: number;
  constructor(method: string, code: number, message: string) {
    super(`${method}: ${message} (code ${code})`);
    this.code = code;
  }
}

interface Pending {
  readonly method: string;
  readonly resolve: (payload: Uint8Array) => void;
  readonly reject: (error: Error) => void;
}

const headerBytes = 10;
const requestFrame = 1;
const responseFrame = 2;

/** One connection to a shim. */
export class Connection {
  /** Settles when the connection has ended, by either side. */
  readonly closed: Promise<void>;
  readonly #pending = new Map<number, Pending>();
  readonly #ended = Promise.withResolvers<void>();
  #socket: Socket | undefined;
  #received: Uint8Array = new Uint8Array();
  #unsent: Uint8Array[] = [];
  #nextStream = 1;

  private constructor() {
    this.closed = this.#ended.promise;
  }

  /**
   * Dials a unix socket.
   *
   * @param address a path, or `unix://` and a path
   * @throws Error when nobody listens
   */
  static async dial(address: string): Promise<Connection> {
    const connection = new Connection();
    connection.#socket = await Bun.connect({
      unix: address.replace(/^unix:\/\//, ""),
      socket: {
        data: (_, chunk) => connection.#receive(chunk),
        drain: () => connection.#flush(),
        close: () => {
          connection.#ended.resolve();
          connection.#fail(new Error("the shim closed the connection"));
        },
        error: (_, error) => connection.#fail(error),
      },
    });
    return connection;
  }

  /**
   * One unary call.
   *
   * @param limit in milliseconds, after which the call fails; 0 waits for ever
   * @throws CallError when the shim answers with an error
   */
  async call(service: string, method: string, payload: Uint8Array, limit = 60_000): Promise<Uint8Array> {
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
    const stream = this.#nextStream;
    this.#nextStream += 2;
    this.#pending.set(stream, { method, resolve, reject });
    const body = ttrpc.Request.encode({ service, method, payload }).finish();
    const frame = new Uint8Array(headerBytes + body.length);
    const header = new DataView(frame.buffer);
    header.setUint32(0, body.length);
    header.setUint32(4, stream);
    header.setUint8(8, requestFrame);
    frame.set(body, headerBytes);
    this.#unsent.push(frame);
    this.#flush();
    if (limit === 0) {
      return promise;
    }
    const timer = setTimeout(() => reject(new Error(`${method}: no answer in ${limit} ms`)), limit);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#pending.delete(stream);
    }
  }

  /** Hangs up. */
  close(): void {
    this.#socket?.end();
  }

  #flush(): void {
    for (;;) {
      const frame = this.#unsent[0];
      if (frame === undefined || this.#socket === undefined) {
        return;
      }
      const written = this.#socket.write(frame);
      if (written < frame.length) {
        this.#unsent[0] = frame.subarray(Math.max(written, 0));
        return;
      }
      this.#unsent.shift();
    }
  }

  #receive(chunk: Uint8Array): void {
    const bytes = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
    let at = 0;
    while (bytes.length - at >= headerBytes) {
      const header = new DataView(bytes.buffer, bytes.byteOffset + at, headerBytes);
      const end = at + headerBytes + header.getUint32(0);
      if (bytes.length < end) {
        break;
      }
      if (header.getUint8(8) === responseFrame) {
        this.#answer(header.getUint32(4), bytes.slice(at + headerBytes, end));
      }
      at = end;
    }
    // The chunk belongs to the socket and may be written over: what is kept is copied.
    this.#received = bytes.slice(at);
  }

  #answer(stream: number, body: Uint8Array): void {
    const pending = this.#pending.get(stream);
    this.#pending.delete(stream);
    const response = ttrpc.Response.decode(body);
    const code = response.status?.code ?? 0;
    if (code !== 0) {
      pending?.reject(new CallError(pending.method, code, response.status?.message ?? ""));
    } else {
      pending?.resolve(response.payload);
    }
  }

  #fail(error: Error): void {
    for (const pending of this.#pending.values()) {
      pending.reject(new Error(`${pending.method}: ${error.message}`));
    }
    this.#pending.clear();
  }
}
