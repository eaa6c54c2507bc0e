/** Messages on unix sockets that nobody waits for: what Bun's own sockets do not do. */

import { FFIType as T } from "bun:ffi";
import { ErrnoError } from "./errno.ts";
import { close } from "./file.ts";
import { check, errno, openLibc } from "./libc.ts";

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
/** Longest path of a unix socket, its NUL included. */
const MAX_PATH = 108;

const encoder = new TextEncoder();
const { symbols: sockets } = openLibc({
  socket: { args: [T.i32, T.i32, T.i32], returns: T.i32 },
  sendto: { args: [T.i32, T.ptr, T.u64, T.i32, T.ptr, T.u32], returns: T.i64_fast },
});

/**
 * Sends one datagram to a unix socket; `@name` is one in the abstract namespace.
 * @throws ErrnoError when nobody receives there, or the receiver's queue is full
 */
export function sendDatagram(path: string, text: string): void {
  const name = encoder.encode(path);
  if (name.length >= MAX_PATH) throw new ErrnoError(36, "sendto", path);
  const to = new Uint8Array(2 + MAX_PATH);
  new DataView(to.buffer).setUint16(0, AF_UNIX, true);
  to.set(name, 2);
  const isAbstract = path.startsWith("@");
  if (isAbstract) to[2] = 0;
  const toLength = 2 + name.length + (isAbstract ? 0 : 1);
  const message = encoder.encode(text);
  const fd = check(sockets.socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0), "socket", path);
  try {
    const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    check(Number(sockets.sendto(fd, message, message.length, flags, to, toLength)), "sendto", path);
  } finally {
    close(fd);
  }
}

/**
 * Writes what fits to a stream socket, whatever its O_NONBLOCK says; -1 means "would block".
 * @throws ErrnoError; SIGPIPE is not raised
 */
export function sendSome(fd: number, bytes: Uint8Array): number {
  for (;;) {
    const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    const count = Number(sockets.sendto(fd, bytes, bytes.length, flags, null, 0));
    if (count >= 0) return count;
    const error = errno();
    if (error === 11) return -1;
    if (error !== 4) throw new ErrnoError(error, "sendto", fd);
  }
}
