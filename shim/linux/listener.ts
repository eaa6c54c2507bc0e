/** Whether somebody listens on a unix socket. */

import { FFIType as T } from "bun:ffi";
import { close } from "./file.ts";
import { check, errno, openLibc } from "./libc.ts";
import { isRunning } from "./process.ts";

const AF_UNIX = 1;
const STREAM_NONBLOCK_CLOEXEC = 1 | 0o2004000;
const PATH_MAX_BYTES = 107;
const ENOENT = 2;
const ENOTDIR = 20;
const ECONNREFUSED = 111;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;

/**
 * True when a process listens on the socket at `path`, also when it is stopped or its queue of connections is full: only
 * a refusal says that nobody does, or that the process that listens is dying. connect(2) on a unix socket that must not
 * block is answered at once.
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
    getsockopt: { args: [T.i32, T.i32, T.i32, T.ptr, T.ptr], returns: T.i32 },
  });
  const fd = check(calls.socket(AF_UNIX, STREAM_NONBLOCK_CLOEXEC, 0), "socket", path);
  try {
    if (calls.connect(fd, address, address.length) < 0) return ![ENOENT, ENOTDIR, ECONNREFUSED].includes(errno());
    // Of a connected socket this is who called listen(2); 0 when that process is in no pid namespace of ours.
    const [owner, length] = [new Int32Array(3), new Uint32Array([12])];
    const known = calls.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, owner, length) === 0;
    const pid = known ? (owner[0] ?? 0) : 0;
    return pid === 0 || isRunning(pid);
  } finally {
    close(fd);
  }
}
