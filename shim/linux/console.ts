/** The console socket over which runc hands the master of a pseudo terminal (IO-7), and its size. */

import { FFIType as T } from "bun:ffi";
import { ErrnoError } from "./errno.ts";
import { close, O, open, removeFile } from "./file.ts";
import { address, check, openLibc } from "./libc.ts";

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const NONBLOCK_CLOEXEC = 0o2004000;
const MSG_CMSG_CLOEXEC = 0x40000000;
const TIOCSWINSZ = 0x5414;
const PATH_MAX_BYTES = 107;

let calls: ReturnType<typeof openSocketCalls> | undefined;

function openSocketCalls() {
  return openLibc({
    socket: { args: [T.i32, T.i32, T.i32], returns: T.i32 },
    bind: { args: [T.i32, T.ptr, T.u32], returns: T.i32 },
    listen: { args: [T.i32, T.i32], returns: T.i32 },
    accept4: { args: [T.i32, T.ptr, T.ptr, T.i32], returns: T.i32 },
    recvmsg: { args: [T.i32, T.ptr, T.i32], returns: T.i64_fast },
    ioctl: { args: [T.i32, T.u64, T.ptr], returns: T.i32 },
  }).symbols;
}

/**
 * A listening socket for one terminal. It lies in the bundle, whose path may be longer than a socket's may be: so it is
 * named through our descriptor of the directory.
 */
export class ConsoleSocket {
  readonly path: string;
  readonly #fd: number;
  readonly #directory: number;

  /** @throws ErrnoError */
  constructor(directory: string, file: string) {
    calls ??= openSocketCalls();
    this.#directory = open(directory, O.PATH | O.DIRECTORY);
    this.path = `/proc/${process.pid}/fd/${this.#directory}/${file}`;
    const { path } = this;
    const name = new TextEncoder().encode(path);
    const bytes = new Uint8Array(name.length + 3);
    bytes[0] = AF_UNIX;
    bytes.set(name, 2);
    this.#fd = calls.socket(AF_UNIX, SOCK_STREAM | NONBLOCK_CLOEXEC, 0);
    try {
      check(this.#fd, "socket", path);
      if (name.length > PATH_MAX_BYTES) throw new ErrnoError(36, "bind", path);
      check(calls.bind(this.#fd, bytes, bytes.length), "bind", path);
      check(calls.listen(this.#fd, 1), "listen", path);
    } catch (error) {
      close(this.#fd);
      close(this.#directory);
      throw error;
    }
  }

  /**
   * The master that runc sent. runc connects and sends before it ends, and waits for no answer, so once it has ended
   * the descriptor is in the socket's buffer, or was never sent.
   * @throws ErrnoError EAGAIN when nothing was sent
   */
  receive(): number {
    calls ??= openSocketCalls();
    const connection = check(calls.accept4(this.#fd, null, null, NONBLOCK_CLOEXEC), "accept console", this.path);
    try {
      return receiveDescriptor(connection, this.path);
    } finally {
      close(connection);
    }
  }

  close(): void {
    close(this.#fd);
    removeFile(this.path);
    close(this.#directory);
  }
}

/** Takes the one descriptor out of a message; every other that a hostile sender may have added is closed. */
function receiveDescriptor(connection: number, path: string): number {
  calls ??= openSocketCalls();
  const text = new Uint8Array(4096);
  const control = new Uint8Array(256);
  const vector = new BigUint64Array([BigInt(address(text)), BigInt(text.length)]);
  // struct msghdr: name, namelen, iov, iovlen, control, controllen, flags
  const header = new BigUint64Array(7);
  header[2] = BigInt(address(vector));
  header[3] = 1n;
  header[4] = BigInt(address(control));
  header[5] = BigInt(control.length);
  check(Number(calls.recvmsg(connection, header, MSG_CMSG_CLOEXEC)), "recvmsg console", path);
  const view = new DataView(control.buffer);
  const end = Math.min(Number(header[5] ?? 0n), control.length);
  const received: number[] = [];
  for (let at = 0; at + 16 <= end; ) {
    const length = Number(view.getBigUint64(at, true));
    if (length < 16 || at + length > end) break;
    if (view.getInt32(at + 8, true) === SOL_SOCKET && view.getInt32(at + 12, true) === SCM_RIGHTS) {
      for (let fd = at + 16; fd + 4 <= at + length; fd += 4) received.push(view.getInt32(fd, true));
    }
    at += Math.ceil(length / 8) * 8;
  }
  const [master, ...rest] = received;
  for (const fd of rest) close(fd);
  if (master === undefined) throw new ErrnoError(11, "receive console", path);
  return master;
}

/** Sets the size of a terminal in characters (TIOCSWINSZ). @throws ErrnoError */
export function resize(master: number, width: number, height: number): void {
  calls ??= openSocketCalls();
  const size = new Uint16Array([height, width, 0, 0]);
  check(calls.ioctl(master, TIOCSWINSZ, size), "resize terminal", master);
}
