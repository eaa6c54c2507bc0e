/** The other end of the wire for tests: raw sockets that speak frames written by hand. */

import { expect } from "bun:test";
import { readdirSync } from "node:fs";
import { ttrpc } from "../../../../proto/gen/ttrpc.js";
import { FrameDecoder } from "../../../../proto/ttrpc/frame.ts";

export interface Frame {
  readonly streamId: number;
  readonly type: number;
  readonly flags: number;
  readonly payload: Uint8Array;
}

/** Bytes from a text of hex digits and spaces. */
export function hex(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.fromHex(text.replaceAll(/\s/g, ""));
}

let names = 0;

/** A fresh abstract socket name. */
export function socketName(): string {
  return `@berth-ttrpc-test-${process.pid}-${names++}`;
}

/** Resolves when the condition holds; fails after two seconds. */
export async function until(condition: () => boolean, what: string, ms = 2000): Promise<void> {
  const end = performance.now() + ms;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`not within ${ms} ms: ${what}`);
    await Bun.sleep(2);
  }
}

/** Number of open descriptors of this process. */
export function openFds(): number {
  return readdirSync("/proc/self/fd").length;
}

/** A frame by hand: header and payload. */
export function frameOf(streamId: number, type: number, flags: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(10 + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, payload.length);
  view.setUint32(4, streamId);
  view.setUint8(8, type);
  view.setUint8(9, flags);
  bytes.set(payload, 10);
  return bytes;
}

/** A request frame. */
export function requestOf(streamId: number, request: ttrpc.Request.$Properties, flags = 0): Uint8Array {
  return frameOf(streamId, 1, flags, ttrpc.Request.encode(request).finish());
}

/** A raw end of a connection. */
export class RawPeer {
  readonly frames: Frame[] = [];
  /** Every byte that came. */
  bytes = new Uint8Array(0);
  isClosed = false;
  #socket: Bun.Socket<RawPeer | undefined> | undefined;
  #unsent: Uint8Array[] = [];
  readonly #decoder = new FrameDecoder({
    frame: (streamId, type, flags, payload) => this.frames.push({ streamId, type, flags, payload: payload.slice() }),
    oversized: () => {
      throw new Error("the peer sent an oversized frame");
    },
  });

  static readonly handlers: Bun.SocketHandler<RawPeer | undefined> = {
    data: (socket, chunk) => {
      socket.data?.take(chunk);
    },
    drain: (socket) => socket.data?.flush(),
    close: (socket) => {
      if (socket.data) socket.data.isClosed = true;
    },
    error: () => undefined,
  };

  static async connect(unix: string): Promise<RawPeer> {
    const peer = new RawPeer();
    const name = unix.startsWith("@") ? `\0${unix.slice(1)}` : unix;
    peer.attach(await Bun.connect<RawPeer | undefined>({ unix: name, data: peer, socket: RawPeer.handlers }));
    return peer;
  }

  attach(socket: Bun.Socket<RawPeer | undefined>): void {
    socket.data = this;
    this.#socket = socket;
  }

  send(...bytes: Uint8Array[]): void {
    this.#unsent.push(...bytes);
    this.flush();
  }

  flush(): void {
    for (;;) {
      const [bytes] = this.#unsent;
      if (bytes === undefined) return;
      const written = this.#socket?.write(bytes) ?? -1;
      if (written < 0) return;
      if (written < bytes.length) {
        this.#unsent[0] = bytes.subarray(written);
        return;
      }
      this.#unsent.shift();
    }
  }

  get unsentBytes(): number {
    return this.#unsent.reduce((sum, bytes) => sum + bytes.length, 0);
  }

  pause(): void {
    this.#socket?.pause();
  }

  resume(): void {
    this.#socket?.resume();
  }

  take(chunk: Uint8Array): void {
    if (this.bytes.length < 1 << 10) this.bytes = Uint8Array.from([...this.bytes, ...chunk]);
    this.#decoder.push(chunk);
  }

  close(): void {
    this.#socket?.terminate();
  }

  /** The next frame, which it takes. */
  async next(ms = 2000): Promise<Frame> {
    await until(() => this.frames.length > 0, "a frame", ms);
    const frame = this.frames.shift();
    if (frame === undefined) throw new Error("no frame");
    return frame;
  }

  /** The next frame, which must be a response on the stream. */
  async response(streamId: number, ms = 2000): Promise<{ code: number; message: string; payload: Uint8Array }> {
    const frame = await this.next(ms);
    expect({ streamId: frame.streamId, type: frame.type, flags: frame.flags }).toEqual({ streamId, type: 2, flags: 0 });
    const response = ttrpc.Response.decode(frame.payload);
    return {
      code: response.status?.code ?? 0,
      message: response.status?.message ?? "",
      payload: response.payload ?? new Uint8Array(0),
    };
  }
}

/** A server whose one connection is a {@link RawPeer}. */
export class RawServer {
  readonly unix = socketName();
  readonly peers: RawPeer[] = [];
  readonly #listener = Bun.listen<RawPeer | undefined>({
    unix: `\0${this.unix.slice(1)}`,
    data: undefined,
    socket: {
      ...RawPeer.handlers,
      open: (socket) => {
        const peer = new RawPeer();
        peer.attach(socket);
        this.peers.push(peer);
      },
    },
  });

  async peer(): Promise<RawPeer> {
    await until(() => this.peers.length > 0, "a connection");
    const peer = this.peers.shift();
    if (peer === undefined) throw new Error("no connection");
    return peer;
  }

  stop(): void {
    this.#listener.stop(true);
  }
}
