/**
 * Connections on unix sockets that cost nothing while nobody speaks. A socket of Bun's own makes its event loop wake once
 * a second for as long as it is open; a descriptor that is read as a file does not (PR-11). So Bun makes the socket, and
 * we take a second descriptor of it, and let Bun's go.
 */

import { FFIType as T } from "bun:ffi";
import type { Channel, Transport } from "../../proto/ttrpc/channel.ts";
import type { Server } from "../../proto/ttrpc/server.ts";
import { close, duplicate, writeSome } from "./file.ts";
import { openLibc } from "./libc.ts";
import { type ByteReader, byteReader } from "./stream.ts";

const SHUT_WR = 1;
const SHUT_RDWR = 2;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;

let calls: ReturnType<typeof openCalls> | undefined;

function openCalls() {
  return openLibc({
    shutdown: { args: [T.i32, T.i32], returns: T.i32 },
    getsockopt: { args: [T.i32, T.i32, T.i32, T.ptr, T.ptr], returns: T.i32 },
    getegid: { args: [], returns: T.u32 },
    geteuid: { args: [], returns: T.u32 },
  }).symbols;
}

/** A connected socket by its descriptor, as a channel's transport. */
export class Connection implements Transport {
  readonly #fd: number;
  readonly #reader: ByteReader;
  #channel: Channel | undefined;
  /** Resolves when reading may go on; undefined while it may. */
  #paused: PromiseWithResolvers<void> | undefined;
  /** Takes what the socket did not, and tells when it takes more; made at the first need. */
  #sink: Bun.FileSink | undefined;
  #busy = false;
  #closed = false;

  /** @param fd non-blocking; closed with the connection */
  constructor(fd: number) {
    this.#fd = fd;
    this.#reader = byteReader(fd);
  }

  /** Begins to read, for this channel. */
  attach(channel: Channel): void {
    this.#channel = channel;
    void this.#read(channel);
  }

  /** Hands the connection to a server, which may have stopped taking any. */
  serveBy(server: Server): void {
    const channel = server.accept(this);
    if (channel === undefined) this.terminate();
    else this.attach(channel);
  }

  async #read(channel: Channel): Promise<void> {
    let failure: Error | undefined;
    try {
      for (;;) {
        const { value, done } = await this.#reader.read();
        if (done || this.#closed) break;
        channel.received(value);
        while (this.#paused !== undefined) await this.#paused.promise;
      }
    } catch (error) {
      failure = error instanceof Error ? error : new Error(String(error));
    }
    this.#close();
    channel.socketClosed(failure);
  }

  write(bytes: Uint8Array): number {
    if (this.#closed) return -1;
    if (this.#busy) return 0;
    let count: number;
    try {
      count = writeSome(this.#fd, bytes);
    } catch {
      return -1;
    }
    if (count < bytes.length) void this.#waitUntilWritable(bytes.subarray(Math.max(count, 0)));
    return bytes.length;
  }

  /** Gives the rest to Bun, which knows when the socket takes it. */
  async #waitUntilWritable(rest: Uint8Array): Promise<void> {
    this.#busy = true;
    try {
      this.#sink ??= Bun.file(this.#fd).writer();
      await this.#sink.write(rest.slice());
      await this.#sink.flush();
    } catch {
      // The peer is gone: the reader sees it too, and closes.
    }
    this.#busy = false;
    if (!this.#closed) this.#channel?.writable();
  }

  pause(): void {
    this.#paused ??= Promise.withResolvers();
  }

  resume(): void {
    this.#paused?.resolve();
    this.#paused = undefined;
  }

  end(): void {
    calls ??= openCalls();
    if (!this.#closed) calls.shutdown(this.#fd, SHUT_WR);
  }

  terminate(): void {
    this.#close();
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.resume();
    this.#reader.cancel().catch(() => {});
    // The sink has a descriptor of its own, and would wait with it for as long as a peer that does not read lives.
    if (this.#sink !== undefined) {
      calls ??= openCalls();
      calls.shutdown(this.#fd, SHUT_RDWR);
      void Promise.resolve(this.#sink.end()).catch(() => {});
    }
    close(this.#fd);
  }

  ref(): void {}

  unref(): void {}
}

/** True when the process at the other end has our uid and gid (SK-6; upstream ttrpc/unixcreds_linux.go). */
function isSameUser(fd: number): boolean {
  calls ??= openCalls();
  const credentials = new Uint32Array(3);
  const length = new Uint32Array([credentials.byteLength]);
  if (calls.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, credentials, length) < 0) return false;
  return credentials[1] === calls.geteuid() && credentials[2] === calls.getegid();
}

/** Takes a second descriptor of Bun's socket and lets the socket go. */
export function takeOver(socket: Bun.Socket<undefined>): number {
  // Bun's types leave `fd` out.
  const fd = duplicate((socket as unknown as { readonly fd: number }).fd);
  socket.terminate();
  return fd;
}

/** Events of a socket that is not ours for long. */
export const ignore = { data() {}, close() {}, error() {} };

/**
 * Listens at `path`; when this returns, clients can connect. Connections of other users are closed.
 * @returns the function that stops listening and removes the socket's file
 * @throws Error with the code EADDRINUSE when the path exists, whoever listens there or not
 */
export function listen(path: string, accept: (connection: Connection) => void): () => void {
  const listener = Bun.listen<undefined>({
    unix: path,
    data: undefined,
    socket: {
      ...ignore,
      open(socket) {
        const fd = takeOver(socket);
        if (!isSameUser(fd)) {
          close(fd);
          return;
        }
        accept(new Connection(fd));
      },
    },
  });
  return () => listener.stop();
}
