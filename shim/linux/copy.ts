/** Copying the content of files in the kernel: shared where the file system can share, holes left out. */

import { FFIType as T } from "bun:ffi";
import { ErrnoError } from "./errno.ts";
import { address, errno, libc, openLibc } from "./libc.ts";

const SYS_lseek = process.arch === "arm64" ? 62 : 8;
const SYS_sendfile = process.arch === "arm64" ? 71 : 40;
const SEEK_SET = 0;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const ENXIO = 6;
/** Bytes of one call, so that a signal is looked at now and then. */
const STEP = 256 << 20;
const position = new BigInt64Array(64);
const positionAddress = address(position);

/**
 * Copies the data of one open file into another that is empty. Its holes are left out; a hole at its end is not made.
 * @param size of the source, in bytes
 * @throws ErrnoError
 */
export function copyData(from: number, to: number, size: number): void {
  for (let at = 0; at < size; ) {
    const start = seek(from, at, SEEK_DATA);
    if (start === undefined) return;
    const end = Math.min(size, seek(from, start, SEEK_HOLE) ?? size);
    seek(to, start, SEEK_SET);
    for (at = start; at < end; ) {
      const count = copyStep(from, to, at, Math.min(end - at, STEP));
      // It has become shorter meanwhile.
      if (count === 0) return;
      at += count;
    }
  }
}

/** @returns undefined when there is nothing of the kind after `at` */
function seek(fd: number, at: number, whence: number): number | undefined {
  const found = Number(libc.syscall(SYS_lseek, fd, at, whence, 0, 0));
  if (found >= 0) return found;
  if (errno() === ENXIO) return undefined;
  throw new ErrnoError(errno(), "lseek", fd);
}

function openCalls() {
  return openLibc({
    copy_file_range: { args: [T.i32, T.u64, T.i32, T.u64, T.u64, T.u32], returns: T.i64_fast },
  });
}

let opened: ReturnType<typeof openCalls> | undefined;
let canShare = true;

/** Copies some bytes from `at` of one file to the position of the other. @returns how many */
function copyStep(from: number, to: number, at: number, count: number): number {
  for (;;) {
    position[0] = BigInt(at);
    const copied = canShare
      ? Number(copyFileRange(from, to, count))
      : Number(libc.syscall(SYS_sendfile, to, from, positionAddress, count, 0));
    if (copied >= 0) return copied;
    const error = errno();
    // EXDEV, EINVAL, ENOSYS, EOPNOTSUPP: not between these file systems; sendfile copies between all.
    if (canShare && [18, 22, 38, 95].includes(error)) canShare = false;
    else if (error !== 4) throw new ErrnoError(error, "copy", to);
  }
}

function copyFileRange(from: number, to: number, count: number): number | bigint {
  opened ??= openCalls();
  return opened.symbols.copy_file_range(from, positionAddress, to, 0, count, 0);
}
