/** Loop devices: files as block devices. */

import { ErrnoError, isErrno } from "./errno.ts";
import { close, O, open } from "./file.ts";
import { address, check, cstring, libc } from "./libc.ts";

const SYS_ioctl = process.arch === "arm64" ? 29 : 16;
const LOOP_CLR_FD = 0x4c01;
const LOOP_CONFIGURE = 0x4c0a;
const LOOP_CTL_GET_FREE = 0x4c82;
const LO_FLAGS_READ_ONLY = 1;
const LO_FLAGS_AUTOCLEAR = 4;
/** sizeof(struct loop_config), the place of its flags (lo_flags of lo64) and of its file's name. */
const CONFIG_BYTES = 304;
const FLAGS_AT = 8 + 52;
const NAME_AT = 8 + 56;
const NAME_BYTES = 63;
/** Others may take a free device before we do. */
const MAX_TRIES = 64;

/** A loop device that was attached. */
export interface Loop {
  /** Such as `/dev/loop0`. */
  readonly path: string;
  /** Open on the device; the caller closes it. */
  readonly fd: number;
}

/**
 * Makes a file a block device.
 * @param autoclear the device lets go of the file when nobody has it open or mounted any more
 * @throws ErrnoError
 */
export function attachLoop(file: string, options: { readOnly: boolean; autoclear: boolean }): Loop {
  const backing = open(file, options.readOnly ? O.RDONLY : O.RDWR);
  try {
    for (let tries = 1; ; tries++) {
      const path = `/dev/loop${freeLoop()}`;
      const fd = open(path, options.readOnly ? O.RDONLY : O.RDWR);
      try {
        configure(fd, backing, file, options);
        return { path, fd };
      } catch (error) {
        close(fd);
        if (tries === MAX_TRIES || !isErrno(error, "EBUSY")) throw error;
      }
    }
  } finally {
    close(backing);
  }
}

/** Lets a loop device go of its file, at once or when it is used no more. @throws ErrnoError */
export function detachLoop(path: string): void {
  const fd = open(path, O.RDONLY);
  try {
    ioctl(fd, LOOP_CLR_FD, 0, path);
  } catch (error) {
    // Nothing is attached to it.
    if (!(error instanceof ErrnoError && error.code === "ENXIO")) throw error;
  } finally {
    close(fd);
  }
}

function freeLoop(): number {
  const control = open("/dev/loop-control", O.RDWR);
  try {
    return ioctl(control, LOOP_CTL_GET_FREE, 0, "/dev/loop-control");
  } finally {
    close(control);
  }
}

function configure(
  fd: number,
  backing: number,
  file: string,
  options: { readOnly: boolean; autoclear: boolean },
): void {
  const config = new Uint8Array(CONFIG_BYTES);
  const view = new DataView(config.buffer);
  view.setUint32(0, backing, true);
  const flags = (options.readOnly ? LO_FLAGS_READ_ONLY : 0) | (options.autoclear ? LO_FLAGS_AUTOCLEAR : 0);
  view.setUint32(FLAGS_AT, flags, true);
  config.set(cstring(file).subarray(0, NAME_BYTES), NAME_AT);
  ioctl(fd, LOOP_CONFIGURE, address(config), file);
}

function ioctl(fd: number, request: number, argument: number, subject: string): number {
  return check(Number(libc.syscall(SYS_ioctl, fd, request, argument, 0, 0)), "ioctl", subject);
}
