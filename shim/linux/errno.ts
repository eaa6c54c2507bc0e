/** Failures of system calls, as one error class. */

/** Names of the error numbers that the shim tells apart or that a person is likely to see. */
const names: Record<number, readonly [name: string, text: string]> = {
  1: ["EPERM", "operation not permitted"],
  2: ["ENOENT", "no such file or directory"],
  3: ["ESRCH", "no such process"],
  4: ["EINTR", "interrupted system call"],
  5: ["EIO", "input/output error"],
  6: ["ENXIO", "no such device or address"],
  9: ["EBADF", "bad file descriptor"],
  10: ["ECHILD", "no child processes"],
  11: ["EAGAIN", "resource temporarily unavailable"],
  12: ["ENOMEM", "cannot allocate memory"],
  13: ["EACCES", "permission denied"],
  16: ["EBUSY", "device or resource busy"],
  17: ["EEXIST", "file exists"],
  19: ["ENODEV", "no such device"],
  20: ["ENOTDIR", "not a directory"],
  21: ["EISDIR", "is a directory"],
  22: ["EINVAL", "invalid argument"],
  23: ["ENFILE", "too many open files in system"],
  24: ["EMFILE", "too many open files"],
  27: ["EFBIG", "file too large"],
  28: ["ENOSPC", "no space left on device"],
  30: ["EROFS", "read-only file system"],
  32: ["EPIPE", "broken pipe"],
  36: ["ENAMETOOLONG", "file name too long"],
  38: ["ENOSYS", "function not implemented"],
  39: ["ENOTEMPTY", "directory not empty"],
  40: ["ELOOP", "too many levels of symbolic links"],
  95: ["EOPNOTSUPP", "operation not supported"],
  98: ["EADDRINUSE", "address already in use"],
  111: ["ECONNREFUSED", "connection refused"],
  117: ["EUCLEAN", "structure needs cleaning"],
  122: ["EDQUOT", "disk quota exceeded"],
};

/** A system call that failed: which, on what, and with what error. */
export class ErrnoError extends Error {
  override readonly name = "ErrnoError";
  readonly errno: number;
  /** The symbolic name, such as "ENOENT"; "E" and the number when the name is not known here. */
  readonly code: string;

  constructor(errno: number, call: string, subject: string | number) {
    const [code, text] = names[errno] ?? [`E${errno}`, `error ${errno}`];
    super(`${call} ${subject}: ${text}`);
    this.errno = errno;
    this.code = code;
  }
}

/** True when `error` is a failed system call with this symbolic error name. */
export function isErrno(error: unknown, ...codes: string[]): boolean {
  return error instanceof ErrnoError && codes.includes(error.code);
}
