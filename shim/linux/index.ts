/** What the supervisor may use of this folder, the one home of system calls. */

export { type Connection, listen } from "./connection.ts";
export { sendDatagram, sendSome } from "./datagram.ts";
export { connect } from "./dial.ts";
export { ErrnoError, isErrno } from "./errno.ts";
export { makeFifo } from "./fifo.ts";
export { close, fileType, O, open, writeSome } from "./file.ts";
export { tryLockFile } from "./lock.ts";
export { unmountRecursive } from "./mount.ts";
export { type ByteReader, byteReader } from "./stream.ts";
export { detach, mountsBelow } from "./mount.ts";
