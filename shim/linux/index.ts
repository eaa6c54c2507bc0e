/** What the supervisor may use of this folder, the one home of system calls. */

export { waitForChild } from "./child.ts";
export {
  Capability,
  changeRoot,
  dieWithParent,
  forbidNewPrivileges,
  keepCapabilities,
  limitResource,
  Resource,
  setUmask,
  syncFileSystem,
  unshareMounts,
} from "./confine.ts";
export { type Connection, listen } from "./connection.ts";
export { copyData } from "./copy.ts";
export { sendDatagram, sendSome } from "./datagram.ts";
export { connect } from "./dial.ts";
export { ErrnoError, isErrno } from "./errno.ts";
export { makeFifo } from "./fifo.ts";
export {
  close,
  exists,
  fileType,
  listDirectory,
  makeDirectories,
  O,
  open,
  pipe,
  readAll,
  readFile,
  readFileIfExists,
  readInto,
  readLink,
  setPipeSize,
  writeAll,
  writeFile,
  writeSome,
} from "./file.ts";
export {
  type Bytes,
  bytesOf,
  createFile,
  makeDirectoryAt,
  makeLink,
  makeNode,
  makeSymlink,
  nextData,
  nextHole,
  openPath,
  readRange,
  readSymlink,
  setAttribute,
  setFileMode,
  setFileOwner,
  setFileSize,
  setFileTimes,
  setMode,
  setOwner,
  setTimes,
  show,
  type Time,
  writeRange,
  writeRangeAt,
} from "./inode.ts";
export { IN, type Watch, watchFile } from "./inotify.ts";
export { bringUp } from "./interface.ts";
export { tryLockFile } from "./lock.ts";
export { attachLoop, detachLoop } from "./loop.ts";
export { dropPages, programMappings, type Range } from "./memory.ts";
export { detach, type Mount, MountError, mountAll, mountsBelow, unmountRecursive } from "./mount.ts";
export { splitLower, unquote } from "./mount-options.ts";
export { Power, reboot, signalAll, syncAll } from "./power.ts";
export { setName } from "./process.ts";
export { type Exit, Reaper, type Watched } from "./reaper.ts";
export { spawn } from "./spawn.ts";
export { type ByteReader, byteReader } from "./stream.ts";
export {
  attributeNamesOfFile,
  attributeOf,
  attributeOfFile,
  attributesOf,
  namesIn,
  openWithin,
  readNames,
  removeTree,
  S,
  type Status,
  statusOfFile,
  statusOfPath,
} from "./walk.ts";
