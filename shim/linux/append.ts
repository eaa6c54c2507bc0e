/** Files that grow at their end and are renamed when they have grown enough: logs. */

import { close, O, open, readInto } from "./file.ts";
import { check, cstring, errno, libc } from "./libc.ts";

const SEEK_END = 2;
const ENOENT = 2;

/**
 * Opens a file for appending, made with `mode` when it is missing. Whatever lies there, opening it does not block.
 * @throws ErrnoError
 */
export function openAppend(path: string, mode: number): number {
  return open(path, O.RDWR | O.APPEND | O.CREAT | O.NONBLOCK, mode);
}

/** The size of an open file in bytes. @throws ErrnoError */
export function sizeOf(fd: number): number {
  return check(Number(libc.lseek(fd, 0, SEEK_END)), "lseek", fd);
}

/** The last byte of an open file; undefined when it is empty. @throws ErrnoError */
export function lastByte(fd: number): number | undefined {
  const size = sizeOf(fd);
  if (size === 0) return undefined;
  check(Number(libc.lseek(fd, size - 1, 0)), "lseek", fd);
  const into = new Uint8Array(1);
  return readInto(fd, into) === 1 ? into[0] : undefined;
}

/** Cuts an open file off at a size. @throws ErrnoError */
export function truncate(fd: number, size: number): void {
  check(libc.ftruncate(fd, size), "ftruncate", fd);
}

/** Renames a file over another. @returns false when there is no such file. @throws ErrnoError */
export function renameIfExists(from: string, to: string): boolean {
  const [old, next] = [cstring(from), cstring(to)];
  const result = libc.rename(old, next);
  if (result < 0 && errno() === ENOENT) return false;
  check(result, "rename", from);
  return true;
}

/** Opens anew what another name may now stand for, and closes the old descriptor. @throws ErrnoError; `fd` stays open */
export function reopenAppend(fd: number, path: string, mode: number): number {
  const next = openAppend(path, mode);
  close(fd);
  return next;
}
