/** What the supervisor may use of this folder, the one home of system calls. */

export { sendDatagram, sendSome } from "./datagram.ts";
export { ErrnoError, isErrno } from "./errno.ts";
export { close, fileType, O, open, writeSome } from "./file.ts";
export { tryLockFile } from "./lock.ts";
