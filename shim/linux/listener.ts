/** Whether somebody listens on a unix socket. */

import { FFIType as T } from "bun:ffi";
import { close } from "./file.ts";
import { check, errno, openLibc } from "./libc.ts";

const AF_UNIX = 1;
const STREAM_NONBLOCK_CLOEXEC = 1 | 0o2004000;
const PATH_MAX_BYTES = 107;
const ENOENT = 2;
const ENOTDIR = 20;
const ECONNREFUSED = 111;

/**
 * True when a process listens on the socket at `path`, also when it is stopped or its queue of connections is full: only
 * a refusal says that nobody does. connect(2) on a unix socket that must not block is answered at once.
 * @throws ErrnoError when no socket can be made
 */
export function hasListener(path: string): boolean {
  const name = new TextEncoder().encode(path);
  if (name.length === 0 || name.length > PATH_MAX_BYTES || name.includes(0)) return false;
  const address = new Uint8Array(name.length + 3);
  address[0] = AF_UNIX;
  address.set(name, 2);
  const { symbols: calls } = openLibc({
    socket: { args: [T.i32, T.i32, T.i32], returns: T.i32 },
    connect: { args: [T.i32, T.ptr, T.u32], returns: T.i32 },
  });
  const fd = check(calls.socket(AF_UNIX, STREAM_NONBLOCK_CLOEXEC, 0), "socket", path);
  try {
    return calls.connect(fd, address, address.length) === 0 || ![ENOENT, ENOTDIR, ECONNREFUSED].includes(errno());
  } finally {
    close(fd);
  }
}
