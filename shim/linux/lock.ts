/** Locks between processes that end with their holder, however it ends. */

import { isErrno } from "./errno.ts";
import { close, O, open } from "./file.ts";
import { check, libc } from "./libc.ts";

const SYS_flock = process.arch === "arm64" ? 32 : 73;
const LOCK_EX = 2;
const LOCK_NB = 4;

/**
 * Takes the lock of a file, which is made if it is missing. It is held until the descriptor is closed or the process
 * ends; children do not inherit it.
 * @returns the descriptor; undefined when somebody else holds the lock
 * @throws ErrnoError
 */
export function tryLockFile(path: string, mode: number): number | undefined {
  const fd = open(path, O.RDWR | O.CREAT | O.NOFOLLOW, mode);
  try {
    check(Number(libc.syscall(SYS_flock, fd, LOCK_EX | LOCK_NB, 0, 0, 0, 0)), "flock", path);
    return fd;
  } catch (error) {
    close(fd);
    if (isErrno(error, "EAGAIN")) return undefined;
    throw error;
  }
}
