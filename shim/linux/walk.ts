/** Reading trees of files by paths of raw bytes: status, names, extended attributes, and removal. */

import { ErrnoError, isErrno } from "./errno.ts";
import { close, O } from "./file.ts";
import { type Bytes, first, inodeCalls, openPath, second, show } from "./inode.ts";
import { address, check, cstring, errno, libc } from "./libc.ts";

/** S_IFMT and its values. */
export const S = {
  IFMT: 0o170000,
  IFSOCK: 0o140000,
  IFLNK: 0o120000,
  IFREG: 0o100000,
  IFBLK: 0o060000,
  IFDIR: 0o040000,
  IFCHR: 0o020000,
  IFIFO: 0o010000,
} as const;

/** What the kernel says of a file. */
export interface Status {
  /** Type and permission bits. */
  readonly mode: number;
  readonly links: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  /** Bytes on disk. */
  readonly allocated: number;
  /** Device and inode as one text. */
  readonly identity: string;
  readonly modified: { readonly seconds: number; readonly nanoseconds: number };
  readonly accessed: { readonly seconds: number; readonly nanoseconds: number };
  readonly changed: { readonly seconds: number; readonly nanoseconds: number };
  /** Of a device node. */
  readonly major: number;
  readonly minor: number;
}

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_EMPTY_PATH = 0x1000;
const STATX_BASIC_STATS = 0x7ff;
const ENOENT = 2;
const ENOTDIR = 20;
const statBuffer = new Uint8Array(2048);
const statView = new DataView(statBuffer.buffer);
const statAddress = address(statBuffer);
const empty = cstring("");
const SYS_statx = process.arch === "arm64" ? 291 : 332;

/** The status of a path, symbolic links not followed; undefined when there is nothing. @throws ErrnoError */
export function statusOfPath(path: Bytes): Status | undefined {
  const result = Number(
    libc.syscall(SYS_statx, AT_FDCWD, first(path), AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, statAddress),
  );
  if (result === 0) return readStatus();
  const error = errno();
  if (error === ENOENT || error === ENOTDIR) return undefined;
  throw new ErrnoError(error, "stat", show(path));
}

/** The status of an open file. @throws ErrnoError */
export function statusOfFile(fd: number): Status {
  check(Number(libc.syscall(SYS_statx, fd, address(empty), AT_EMPTY_PATH, STATX_BASIC_STATS, statAddress)), "stat", fd);
  return readStatus();
}

function readStatus(): Status {
  const time = (at: number) => ({
    seconds: Number(statView.getBigInt64(at, true)),
    nanoseconds: statView.getUint32(at + 8, true),
  });
  return {
    links: statView.getUint32(16, true),
    uid: statView.getUint32(20, true),
    gid: statView.getUint32(24, true),
    mode: statView.getUint16(28, true),
    size: Number(statView.getBigUint64(40, true)),
    allocated: Number(statView.getBigUint64(48, true)) * 512,
    accessed: time(64),
    changed: time(96),
    modified: time(112),
    major: statView.getUint32(128, true),
    minor: statView.getUint32(132, true),
    identity: `${statView.getUint32(136, true)}:${statView.getUint32(140, true)}:${statView.getBigUint64(32, true)}`,
  };
}

const SYS_getdents64 = process.arch === "arm64" ? 61 : 217;
const entries = Buffer.alloc(64 << 10);
const entriesAddress = address(entries);
// The last is O_NOATIME: looking at a layer must not write to it.
const LIST = O.RDONLY | O.DIRECTORY | O.NOFOLLOW | 0o1000000;
const DT_DIR = 4;

/** A name in a directory; `isDirectory` is undefined where the file system does not tell. */
export interface Name {
  readonly name: Bytes;
  readonly isDirectory: boolean | undefined;
}

/** The next names of an open directory, without "." and ".."; undefined at its end. @throws ErrnoError */
export function readNames(fd: number): Name[] | undefined {
  const length = Number(libc.syscall(SYS_getdents64, fd, entriesAddress, entries.length, 0, 0));
  check(length, "getdents64", fd);
  if (length === 0) return undefined;
  const names: Name[] = [];
  for (let at = 0; at < length; at += entries.readUInt16LE(at + 16)) {
    const name = entries.toString("latin1", at + 19, entries.indexOf(0, at + 19));
    if (name === "." || name === "..") continue;
    const type = entries[at + 18];
    names.push({ name, isDirectory: type === 0 ? undefined : type === DT_DIR });
  }
  return names;
}

/** All names in a directory, in the order of their bytes. @throws ErrnoError */
export function namesIn(path: Bytes): Bytes[] {
  const fd = openPath(path, LIST);
  try {
    const all: Bytes[] = [];
    for (let some = readNames(fd); some !== undefined; some = readNames(fd)) {
      for (const { name } of some) all.push(name);
    }
    return all.sort();
  } finally {
    close(fd);
  }
}

const attributes = Buffer.alloc(128 << 10);
const attributesAddress = address(attributes);
const ENODATA = 61;
const EOPNOTSUPP = 95;

/** Names of the extended attributes of a path, a symbolic link's own. @throws ErrnoError */
export function attributesOf(path: Bytes): Bytes[] {
  const length = Number(inodeCalls().llistxattr(first(path), attributesAddress, attributes.length));
  if (length <= 0) return none(length, path) ?? [];
  return attributes
    .toString("latin1", 0, length - 1)
    .split("\0")
    .sort();
}

/** The value of an extended attribute; undefined when there is none. @throws ErrnoError */
export function attributeOf(path: Bytes, name: Bytes): Uint8Array | undefined {
  const length = Number(inodeCalls().lgetxattr(first(path), second(name), attributesAddress, attributes.length));
  if (length < 0) return none(length, path);
  return new Uint8Array(attributes.subarray(0, length));
}

/** Like {@link attributesOf}, of an open file. @throws ErrnoError */
export function attributeNamesOfFile(fd: number): Bytes[] {
  const length = Number(inodeCalls().flistxattr(fd, attributesAddress, attributes.length));
  if (length <= 0) return none(length, String(fd)) ?? [];
  return attributes
    .toString("latin1", 0, length - 1)
    .split("\0")
    .sort();
}

/** Like {@link attributeOf}, of an open file. @throws ErrnoError */
export function attributeOfFile(fd: number, name: Bytes): Uint8Array | undefined {
  const length = Number(inodeCalls().fgetxattr(fd, first(name), attributesAddress, attributes.length));
  if (length < 0) return none(length, String(fd));
  return new Uint8Array(attributes.subarray(0, length));
}

function none(result: number, path: Bytes): undefined {
  if (result === 0) return undefined;
  const error = errno();
  if (error !== ENODATA && error !== EOPNOTSUPP) throw new ErrnoError(error, "getxattr", show(path));
  return undefined;
}

const SYS_openat2 = 437;
const RESOLVE_NO_MAGICLINKS = 0x02;
const RESOLVE_IN_ROOT = 0x10;
const how = new BigUint64Array(256);
const howAddress = address(how);

/**
 * Opens a path as a process would whose root is the open directory: no link leads out of it.
 * @returns undefined when there is nothing, or something else than a directory on the way @throws ErrnoError
 */
export function openWithin(directory: number, path: Bytes, flags: number): number | undefined {
  how[0] = BigInt(flags | O.CLOEXEC);
  how[1] = 0n;
  how[2] = BigInt(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
  const fd = Number(libc.syscall(SYS_openat2, directory, first(path), howAddress, 24, 0));
  if (fd >= 0) return fd;
  const error = errno();
  if (error === ENOENT || error === ENOTDIR) return undefined;
  throw new ErrnoError(error, "openat2", show(path));
}

/**
 * Removes a path and everything below it. The working directory, which must be the process's own root, is used to go
 * down, so that neither the length of paths nor descriptors limit the depth.
 * @throws ErrnoError
 */
export function removeTree(path: Bytes): void {
  const calls = inodeCalls();
  if (calls.unlink(first(path)) === 0) return;
  const error = errno();
  if (error === ENOENT) return;
  if (error !== 21 && error !== 1) throw new ErrnoError(error, "unlink", show(path));
  const slash = path.lastIndexOf("/");
  const top = path.slice(slash + 1);
  try {
    if (slash > 0) enter(path.slice(0, slash));
    emptyDirectory(top);
    check(calls.rmdir(first(top)), "rmdir", show(path));
  } finally {
    enter("/");
  }
}

/** Empties the directory `name` of the working directory, and comes back. */
function emptyDirectory(name: Bytes): void {
  const calls = inodeCalls();
  const above: Bytes[] = [];
  enterDirectory(name);
  for (;;) {
    const child = unlinkAll();
    if (child !== undefined) {
      enterDirectory(child);
      above.push(child);
      continue;
    }
    enter("..");
    const emptied = above.pop();
    if (emptied === undefined) return;
    check(calls.rmdir(first(emptied)), "rmdir", show(emptied));
  }
}

/** Unlinks what is in the working directory up to its first directory, whose name it gives. */
function unlinkAll(): Bytes | undefined {
  const fd = openPath(".", LIST);
  try {
    for (let some = readNames(fd); some !== undefined; some = readNames(fd)) {
      for (const { name } of some) {
        if (inodeCalls().unlink(first(name)) === 0) continue;
        const error = errno();
        if (error === 21 || error === 1) return name;
        throw new ErrnoError(error, "unlink", show(name));
      }
    }
    return undefined;
  } finally {
    close(fd);
  }
}

function enter(path: Bytes): void {
  check(inodeCalls().chdir(first(path)), "chdir", show(path));
}

/** Changes into a directory of the working directory that is no link to one. */
function enterDirectory(name: Bytes): void {
  const status = statusOfPath(name);
  if (status === undefined || (status.mode & S.IFMT) !== S.IFDIR) throw new ErrnoError(ENOTDIR, "chdir", show(name));
  enter(name);
}

/** True for a failed call on something that is not there. */
export function isMissing(error: unknown): boolean {
  return isErrno(error, "ENOENT", "ENOTDIR");
}
