/** Files, directories and descriptors. All descriptors are close-on-exec. */

import { ErrnoError, isErrno } from "./errno.ts";
import { address, check, cstring, errno, libc } from "./libc.ts";

/** Some flags of open(2) are numbered otherwise on arm64. */
const isArm = process.arch === "arm64";

/** open(2) flags; O_CLOEXEC is always added. */
export const O = {
  RDONLY: 0,
  WRONLY: 1,
  RDWR: 2,
  CREAT: 0o100,
  EXCL: 0o200,
  TRUNC: 0o1000,
  APPEND: 0o2000,
  NONBLOCK: 0o4000,
  DIRECTORY: isArm ? 0o40000 : 0o200000,
  NOFOLLOW: isArm ? 0o100000 : 0o400000,
  PATH: 0o10000000,
  CLOEXEC: 0o2000000,
} as const;

const F_GETFD = 1;
const F_GETFL = 3;
const F_SETFL = 4;
const F_DUPFD_CLOEXEC = 1030;
const F_SETPIPE_SZ = 1031;
const F_GETPIPE_SZ = 1032;
const F_ADD_SEALS = 1033;
const SEAL_SHRINK_AND_GROW = 2 | 4;

/** Opens a file. @throws ErrnoError */
export function open(path: string, flags: number, mode = 0): number {
  const bytes = cstring(path);
  return check(libc.open(bytes, flags | O.CLOEXEC, mode), "open", path);
}

/** Closes a descriptor. A descriptor is gone whatever close(2) answers, so nothing is thrown. */
export function close(fd: number): void {
  if (fd >= 0) libc.close(fd);
}

/** Reads at most `into.length` bytes; 0 is the end, -1 means "would block". @throws ErrnoError */
export function readInto(fd: number, into: Uint8Array): number {
  for (;;) {
    const count = Number(libc.read(fd, into, into.length));
    if (count >= 0) return count;
    const error = errno();
    if (error === 11) return -1;
    if (error !== 4) throw new ErrnoError(error, "read", fd);
  }
}

/** Writes what fits; -1 means "would block". @throws ErrnoError */
export function writeSome(fd: number, bytes: Uint8Array): number {
  for (;;) {
    const count = Number(libc.write(fd, bytes, bytes.length));
    if (count >= 0) return count;
    const error = errno();
    if (error === 11) return -1;
    if (error !== 4) throw new ErrnoError(error, "write", fd);
  }
}

/** Writes all of `bytes` to a blocking descriptor. @throws ErrnoError */
export function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) {
    const count = writeSome(fd, bytes.subarray(at));
    if (count < 0) throw new ErrnoError(11, "write", fd);
    at += count;
  }
}

/**
 * What system calls write into, for those that take it out before they return. Memory of its own for each call would bring
 * the next collection of garbage forward, which in a small shim is a large part of a container's start.
 */
const scratch = new Uint8Array(16384);

/**
 * Reads a descriptor to its end.
 * @param limit more bytes than this are an error (EFBIG), so that hostile input cannot fill the memory.
 * @throws ErrnoError
 */
export function readAll(fd: number, limit: number): Uint8Array {
  return fill(fd, limit).slice();
}

/** Like {@link readAll}, but what it answers may lie in {@link scratch}. */
function fill(fd: number, limit: number): Uint8Array {
  let buffer = scratch.subarray(0, limit + 1);
  let length = 0;
  for (;;) {
    if (length === buffer.length) {
      const larger = new Uint8Array(Math.min(buffer.length * 4, limit + 1));
      larger.set(buffer);
      buffer = larger;
    }
    const count = readInto(fd, buffer.subarray(length));
    if (count < 0) throw new ErrnoError(11, "read", fd);
    if (count === 0) return buffer.subarray(0, length);
    length += count;
    if (length > limit) throw new ErrnoError(27, "read", fd);
  }
}

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** The text of a file; 16 MiB at most unless told. @throws ErrnoError */
export function readFile(path: string, limit = 16 << 20): string {
  const fd = open(path, O.RDONLY);
  try {
    return decoder.decode(fill(fd, limit));
  } finally {
    close(fd);
  }
}

/** Like {@link readFile}, but undefined when the file is not there, nor the process of a file in /proc. */
export function readFileIfExists(path: string, limit?: number): string | undefined {
  try {
    return readFile(path, limit);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR", "ESRCH")) return undefined;
    throw error;
  }
}

/** Writes to an existing file, such as a cgroup's or /proc's. @throws ErrnoError */
export function writeFile(path: string, text: string): void {
  const fd = open(path, O.WRONLY);
  try {
    writeAll(fd, encoder.encode(text));
  } finally {
    close(fd);
  }
}

/**
 * Replaces a file so that a reader, or a crash, meets either the old or the new content, never a part (temp + rename).
 * @throws ErrnoError; the temporary file is removed
 */
export function replaceFile(path: string, content: string | Uint8Array, mode = 0o600): void {
  const slash = path.lastIndexOf("/") + 1;
  const temporary = `${path.slice(0, slash)}.${path.slice(slash)}.tmp`;
  const fd = open(temporary, O.WRONLY | O.CREAT | O.TRUNC | O.NOFOLLOW, mode);
  const [from, to] = [cstring(temporary), cstring(path)];
  try {
    writeAll(fd, typeof content === "string" ? encoder.encode(content) : content);
    check(libc.rename(from, to), "rename", path);
  } catch (error) {
    removeFile(temporary);
    throw error;
  } finally {
    close(fd);
  }
}

/** Removes a file; a missing one is fine. @throws ErrnoError */
export function removeFile(path: string): void {
  const bytes = cstring(path);
  if (libc.unlink(bytes) < 0) {
    const error = errno();
    if (error !== 2) throw new ErrnoError(error, "unlink", path);
  }
}

/** Removes an empty directory; a missing one is fine. @throws ErrnoError */
export function removeDirectory(path: string): void {
  const bytes = cstring(path);
  if (libc.rmdir(bytes) < 0) {
    const error = errno();
    if (error !== 2) throw new ErrnoError(error, "rmdir", path);
  }
}

/** Creates a directory; an existing one is fine. @throws ErrnoError */
export function makeDirectory(path: string, mode: number): void {
  const bytes = cstring(path);
  if (libc.mkdir(bytes, mode) < 0) {
    const error = errno();
    if (error !== 17) throw new ErrnoError(error, "mkdir", path);
  }
}

/** Creates a directory and those above it that are missing. @throws ErrnoError */
export function makeDirectories(path: string, mode: number): void {
  if (path === "" || exists(path)) return;
  makeDirectories(path.slice(0, Math.max(0, path.lastIndexOf("/"))), mode);
  makeDirectory(path, mode);
}

/** True when the path can be reached. */
export function exists(path: string): boolean {
  const bytes = cstring(path);
  return libc.access(bytes, 0) === 0;
}

/** True when the path is a file that may be executed; for a directory the permission means something else. */
export function isExecutable(path: string): boolean {
  const bytes = cstring(path);
  return libc.access(bytes, 1) === 0 && fileType(path) === "file";
}

/** Where a symbolic link points; undefined when it cannot be read. */
export function readLink(path: string): string | undefined {
  const bytes = cstring(path);
  const length = Number(libc.readlink(bytes, scratch, 4096));
  return length < 0 ? undefined : decoder.decode(scratch.subarray(0, length));
}

/**
 * The path as mountinfo spells it: without symbolic links above its last part, which is not followed. The path itself
 * when it cannot be reached.
 */
export function canonicalPath(path: string): string {
  let fd = -1;
  try {
    fd = open(path, O.PATH | O.NOFOLLOW);
    return readLink(pathOfOpen(fd)) ?? path;
  } catch {
    return path;
  } finally {
    close(fd);
  }
}

const AT_FDCWD = -100;
const STATX_TYPE_INO_SIZE = 0x301;

/** What statx(2) tells of a path, links followed; undefined when there is nothing. */
function stat(path: string): DataView | undefined {
  const bytes = cstring(path);
  const into = new Uint8Array(256);
  return libc.statx(AT_FDCWD, bytes, 0, STATX_TYPE_INO_SIZE, into) < 0 ? undefined : new DataView(into.buffer);
}

/** A path to the file that is open as `fd`, whatever has become of its name. */
export const pathOfOpen = (fd: number) => `/proc/self/fd/${fd}`;

/** Device and inode of a file as one text, the same for all its names; undefined when there is no such file. */
export function fileIdentity(path: string): string | undefined {
  const found = stat(path);
  return found && `${found.getUint32(136, true)}:${found.getUint32(140, true)}:${found.getBigUint64(32, true)}`;
}

/** The kind of a file by its S_IFMT bits; undefined when there is no such file. */
export function fileType(path: string): "fifo" | "directory" | "file" | "socket" | "other" | undefined {
  const found = stat(path);
  if (found === undefined) return undefined;
  switch (found.getUint16(28, true) & 0o170000) {
    case 0o010000:
      return "fifo";
    case 0o040000:
      return "directory";
    case 0o100000:
      return "file";
    case 0o140000:
      return "socket";
    default:
      return "other";
  }
}

/** Names in a directory, without "." and "..". @throws ErrnoError */
export function listDirectory(path: string): string[] {
  const fd = open(path, O.RDONLY | O.DIRECTORY);
  const SYS_getdents64 = process.arch === "arm64" ? 61 : 217;
  const view = new DataView(scratch.buffer);
  const names: string[] = [];
  try {
    for (;;) {
      const length = Number(libc.syscall(SYS_getdents64, fd, address(scratch), scratch.length, 0, 0));
      if (length === 0) return names;
      check(length, "getdents64", path);
      for (let at = 0; at < length; at += view.getUint16(at + 16, true)) {
        const start = at + 19;
        const name = decoder.decode(scratch.subarray(start, scratch.indexOf(0, start)));
        if (name !== "." && name !== "..") names.push(name);
      }
    }
  } finally {
    close(fd);
  }
}

const SYS_flock = process.arch === "arm64" ? 32 : 73;
const LOCK_EX = 2;

/**
 * Waits until nobody else holds the lock of a directory, and takes it. It is held until the descriptor that is returned
 * is closed, or its process ends. @throws ErrnoError
 */
export function lockDirectory(path: string): number {
  const fd = open(path, O.RDONLY | O.DIRECTORY);
  try {
    check(Number(libc.syscall(SYS_flock, fd, LOCK_EX, 0, 0, 0, 0)), "flock", path);
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}

/** A pipe as [read end, write end]; both blocking. @throws ErrnoError */
export function pipe(): [number, number] {
  const ends = new Int32Array(2);
  check(libc.pipe2(ends, O.CLOEXEC), "pipe2", "");
  return [ends[0] ?? -1, ends[1] ?? -1];
}

/** A second descriptor of the same open file. @throws ErrnoError */
export function duplicate(fd: number): number {
  return check(libc.fcntl(fd, F_DUPFD_CLOEXEC, 3), "dup", fd);
}

/** Makes `target` another name of `fd`, as dup2(2); `target` loses close-on-exec. @throws ErrnoError */
export function duplicateTo(fd: number, target: number): void {
  check(libc.dup3(fd, target, 0), "dup3", fd);
}

/** Switches O_NONBLOCK of the open file on or off. @throws ErrnoError */
export function setNonBlocking(fd: number, on: boolean): void {
  const flags = check(libc.fcntl(fd, F_GETFL, 0), "fcntl", fd);
  check(libc.fcntl(fd, F_SETFL, on ? flags | O.NONBLOCK : flags & ~O.NONBLOCK), "fcntl", fd);
}

/** True when the descriptor is open and survives an exec. */
export function isInheritable(fd: number): boolean {
  return libc.fcntl(fd, F_GETFD, 0) === 0;
}

const SYS_ioctl = process.arch === "arm64" ? 29 : 16;
const FIONREAD = 0x541b;

/** Bytes that wait to be read in a pipe, FIFO, terminal or socket; 0 when that cannot be told. */
export function unreadBytes(fd: number): number {
  const count = new Int32Array(1);
  return Number(libc.syscall(SYS_ioctl, fd, FIONREAD, address(count), 0, 0, 0)) < 0 ? 0 : (count[0] ?? 0);
}

/** Asks for a pipe buffer of this many bytes; the kernel may refuse (limits of a user), which costs speed only. */
export function setPipeSize(fd: number, bytes: number): void {
  libc.fcntl(fd, F_SETPIPE_SZ, bytes);
}

/** The bytes that the buffer of a pipe can hold when its writers fill each page. @throws ErrnoError */
export function pipeSize(fd: number): number {
  return check(libc.fcntl(fd, F_GETPIPE_SZ, 0), "fcntl", fd);
}

/** Gives the open file to a user and a group. @throws ErrnoError */
export function changeOwner(fd: number, uid: number, gid: number): void {
  check(libc.fchown(fd, uid, gid), "fchown", fd);
}

/**
 * An anonymous file in memory.
 * @param limit when given the file has this size, full of zeros, and can never grow: a program that prints without end
 * into it gets EPERM.
 * @throws ErrnoError
 */
export function memoryFile(content: Uint8Array | undefined, limit?: number): number {
  const label = cstring("berth");
  const fd = check(libc.memfd_create(label, limit === undefined ? 1 : 3), "memfd_create", "");
  try {
    if (content !== undefined) {
      writeAll(fd, content);
      rewind(fd);
    }
    if (limit !== undefined) {
      check(libc.ftruncate(fd, limit), "ftruncate", fd);
      check(libc.fcntl(fd, F_ADD_SEALS, SEAL_SHRINK_AND_GROW), "fcntl", fd);
    }
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}

/** Moves the position of an open file to its start. @throws ErrnoError */
export function rewind(fd: number): void {
  check(Number(libc.lseek(fd, 0, 0)), "lseek", fd);
}

/** The position in an open file, in bytes. @throws ErrnoError */
export function position(fd: number): number {
  return check(Number(libc.lseek(fd, 0, 1)), "lseek", fd);
}
