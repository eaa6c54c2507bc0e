/**
 * Making and changing files by paths of raw bytes, for processes that do little else: unpacking and comparing layers.
 * Names in a layer are bytes, not text; they reach the kernel as they stand in the archive.
 */

import { FFIType as T } from "bun:ffi";
import { ErrnoError } from "./errno.ts";
import { O } from "./file.ts";
import { address, check, errno, libc, openLibc } from "./libc.ts";

/** A path (or any text) of bytes: every character of the string is one byte, 0 to 255. */
export type Bytes = string;

/** Seconds and nanoseconds since the epoch. */
export interface Time {
  readonly seconds: number;
  readonly nanoseconds: number;
}

const PATH_MAX = 4096;
const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const SYS_mknodat = process.arch === "arm64" ? 33 : 259;
const CREATE = O.CREAT | O.EXCL | O.WRONLY | O.NOFOLLOW | O.CLOEXEC;

function openCalls() {
  return openLibc({
    chmod: { args: [T.u64, T.u32], returns: T.i32 },
    chdir: { args: [T.u64], returns: T.i32 },
    fchmod: { args: [T.i32, T.u32], returns: T.i32 },
    fgetxattr: { args: [T.i32, T.u64, T.u64, T.u64], returns: T.i64_fast },
    flistxattr: { args: [T.i32, T.u64, T.u64], returns: T.i64_fast },
    fsetxattr: { args: [T.i32, T.u64, T.u64, T.u64, T.i32], returns: T.i32 },
    futimens: { args: [T.i32, T.u64], returns: T.i32 },
    lchown: { args: [T.u64, T.u32, T.u32], returns: T.i32 },
    lgetxattr: { args: [T.u64, T.u64, T.u64, T.u64], returns: T.i64_fast },
    linkat: { args: [T.i32, T.u64, T.i32, T.u64, T.i32], returns: T.i32 },
    llistxattr: { args: [T.u64, T.u64, T.u64], returns: T.i64_fast },
    lsetxattr: { args: [T.u64, T.u64, T.u64, T.u64, T.i32], returns: T.i32 },
    mkdir: { args: [T.u64, T.u32], returns: T.i32 },
    open: { args: [T.u64, T.i32, T.u32], returns: T.i32 },
    pread: { args: [T.i32, T.u64, T.u64, T.i64_fast], returns: T.i64_fast },
    pwrite: { args: [T.i32, T.u64, T.u64, T.i64_fast], returns: T.i64_fast },
    readlink: { args: [T.u64, T.u64, T.u64], returns: T.i64_fast },
    rmdir: { args: [T.u64], returns: T.i32 },
    symlink: { args: [T.u64, T.u64], returns: T.i32 },
    unlink: { args: [T.u64], returns: T.i32 },
    utimensat: { args: [T.i32, T.u64, T.u64, T.i32], returns: T.i32 },
    write: { args: [T.i32, T.u64, T.u64], returns: T.i64_fast },
  });
}

let opened: ReturnType<typeof openCalls> | undefined;

/** The calls that only processes with many files to touch need; paths are addresses from {@link first}. */
export function inodeCalls(): ReturnType<typeof openCalls>["symbols"] {
  opened ??= openCalls();
  return opened.symbols;
}

// Two paths at most are under way in one call; no call is made between filling one and using it.
const buffers = [Buffer.alloc(2 * PATH_MAX), Buffer.alloc(2 * PATH_MAX)] as const;
const addresses = [address(buffers[0]), address(buffers[1])] as const;

/**
 * The address of a NUL-terminated copy of `path`, valid until the next call.
 * @throws ErrnoError ENAMETOOLONG, EINVAL for a NUL within
 */
export function first(path: Bytes): number {
  return put(0, path);
}

/** Like {@link first}, for the other path of a call. */
export function second(path: Bytes): number {
  return put(1, path);
}

function put(which: 0 | 1, path: Bytes): number {
  if (path.length >= PATH_MAX) throw new ErrnoError(36, "path", `${show(path.slice(0, 60))}...`);
  if (path.includes("\0")) throw new ErrnoError(22, "path", JSON.stringify(show(path)));
  const buffer = buffers[which];
  buffer[buffer.write(path, 0, "latin1")] = 0;
  return addresses[which];
}

/** Bytes as a person reads them, for messages: UTF-8 where they are. */
export function show(path: Bytes): string {
  return Buffer.from(path, "latin1").toString("utf8");
}

/** The bytes of a text of this program. */
export function bytesOf(text: string): Bytes {
  return Buffer.from(text, "utf8").toString("latin1");
}

function done(result: number, call: string, path: Bytes): void {
  if (result < 0) throw new ErrnoError(errno(), call, show(path));
}

/** Makes a file that was not there, for writing. @throws ErrnoError EEXIST, ENOENT when its directory is missing */
export function createFile(path: Bytes, mode: number): number {
  const fd = inodeCalls().open(first(path), CREATE, mode);
  if (fd < 0) throw new ErrnoError(errno(), "create", show(path));
  return fd;
}

/** Opens what is there, close-on-exec. @throws ErrnoError */
export function openPath(path: Bytes, flags: number): number {
  const fd = inodeCalls().open(first(path), flags | O.CLOEXEC, 0);
  if (fd < 0) throw new ErrnoError(errno(), "open", show(path));
  return fd;
}

/** Writes `bytes` from `from` to `to` to a blocking descriptor. @throws ErrnoError */
export function writeRange(fd: number, bytes: Uint8Array, from: number, to: number): void {
  const base = address(bytes);
  while (from < to) {
    const count = Number(inodeCalls().write(fd, base + from, to - from));
    if (count >= 0) from += count;
    else if (errno() !== 4) throw new ErrnoError(errno(), "write", fd);
  }
}

/** Like {@link writeRange}, at `offset` of the file. @throws ErrnoError */
export function writeRangeAt(fd: number, bytes: Uint8Array, from: number, to: number, offset: number): void {
  const base = address(bytes);
  while (from < to) {
    const count = Number(inodeCalls().pwrite(fd, base + from, to - from, offset));
    if (count >= 0) {
      from += count;
      offset += count;
    } else if (errno() !== 4) throw new ErrnoError(errno(), "write", fd);
  }
}

/** Cuts an open file, or lengthens it with zeros that take no space. @throws ErrnoError */
export function setFileSize(fd: number, size: number): void {
  check(libc.ftruncate(fd, size), "ftruncate", fd);
}

const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const ENXIO = 6;

/** Where the next bytes of an open file are that its file system has, from `offset` on; undefined when there are none. */
export function nextData(fd: number, offset: number): number | undefined {
  const found = Number(libc.lseek(fd, offset, SEEK_DATA));
  if (found < 0 && errno() === ENXIO) return undefined;
  return check(found, "lseek", fd);
}

/** Where the next hole begins, from `offset` on; a file ends with one. @throws ErrnoError */
export function nextHole(fd: number, offset: number): number {
  return check(Number(libc.lseek(fd, offset, SEEK_HOLE)), "lseek", fd);
}

/** Reads at `offset` of a file into `bytes` from `from` on. @returns how many; 0 is the end @throws ErrnoError */
export function readRange(fd: number, bytes: Uint8Array, from: number, to: number, offset: number): number {
  for (;;) {
    const count = Number(inodeCalls().pread(fd, address(bytes) + from, to - from, offset));
    if (count >= 0) return count;
    if (errno() !== 4) throw new ErrnoError(errno(), "read", fd);
  }
}

/** Makes a directory. @throws ErrnoError EEXIST, ENOENT */
export function makeDirectoryAt(path: Bytes, mode: number): void {
  done(inodeCalls().mkdir(first(path), mode), "mkdir", path);
}

/** Makes a device node or a FIFO; `mode` has the file type bits. @throws ErrnoError */
export function makeNode(path: Bytes, mode: number, major: number, minor: number): void {
  // The kernel's own encoding of a device number (new_encode_dev).
  const device = (minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12);
  done(Number(libc.syscall(SYS_mknodat, AT_FDCWD, first(path), mode, device >>> 0, 0)), "mknod", path);
}

/** Makes `path` another name of the file `target`; a symbolic link at its end is not followed. @throws ErrnoError */
export function makeLink(target: Bytes, path: Bytes): void {
  done(inodeCalls().linkat(AT_FDCWD, first(target), AT_FDCWD, second(path), 0), "link", path);
}

/** Makes a symbolic link. @throws ErrnoError */
export function makeSymlink(target: Bytes, path: Bytes): void {
  done(inodeCalls().symlink(first(target), second(path)), "symlink", path);
}

/** Where a symbolic link points. @throws ErrnoError */
export function readSymlink(path: Bytes): Bytes {
  const into = buffers[1];
  const length = Number(inodeCalls().readlink(first(path), addresses[1], into.length));
  done(length, "readlink", path);
  return into.toString("latin1", 0, length);
}

/** Owner of a path; a symbolic link itself. @throws ErrnoError */
export function setOwner(path: Bytes, uid: number, gid: number): void {
  done(inodeCalls().lchown(first(path), uid, gid), "chown", path);
}

/** Mode of a path that is no symbolic link. @throws ErrnoError */
export function setMode(path: Bytes, mode: number): void {
  done(inodeCalls().chmod(first(path), mode), "chmod", path);
}

const times = new Uint32Array(256);
const timesAddress = address(times);

function putTimes(accessed: Time, modified: Time): number {
  [accessed, modified].forEach(({ seconds, nanoseconds }, i) => {
    times[4 * i] = seconds >>> 0;
    times[4 * i + 1] = Math.floor(seconds / 0x100000000);
    times[4 * i + 2] = nanoseconds;
    times[4 * i + 3] = 0;
  });
  return timesAddress;
}

/** Times of a path; a symbolic link itself. @throws ErrnoError */
export function setTimes(path: Bytes, accessed: Time, modified: Time): void {
  const at = putTimes(accessed, modified);
  done(inodeCalls().utimensat(AT_FDCWD, first(path), at, AT_SYMLINK_NOFOLLOW), "utimensat", path);
}

/** Owner of an open file; set-id bits and capabilities that it has are cleared by it. @throws ErrnoError */
export function setFileOwner(fd: number, uid: number, gid: number): void {
  check(libc.fchown(fd, uid, gid), "chown", fd);
}

/** Mode of an open file. @throws ErrnoError */
export function setFileMode(fd: number, mode: number): void {
  check(inodeCalls().fchmod(fd, mode), "chmod", fd);
}

/** Times of an open file. @throws ErrnoError */
export function setFileTimes(fd: number, accessed: Time, modified: Time): void {
  check(inodeCalls().futimens(fd, putTimes(accessed, modified)), "futimens", fd);
}

/** Sets an extended attribute; of a symbolic link itself. @throws ErrnoError */
export function setAttribute(path: Bytes, name: Bytes, value: Uint8Array): void {
  // An empty value has no address, and needs none.
  const at = value.length === 0 ? 0 : address(value);
  done(inodeCalls().lsetxattr(first(path), second(name), at, value.length, 0), `setxattr ${show(name)} of`, path);
}
