/** Network interfaces, as far as an init needs them. */

import { ErrnoError } from "./errno.ts";
import { close } from "./file.ts";
import { check, errno, openLibc } from "./libc.ts";

const AF_INET = 2;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const SIOCGIFFLAGS = 0x8913;
const SIOCSIFFLAGS = 0x8914;
const IFF_UP = 1;
/** struct ifreq of 64-bit machines, and where its flags are. */
const IFREQ_BYTES = 40;
const FLAGS_AT = 16;

/** Sets an interface up. @throws ErrnoError */
export function bringUp(name: string): void {
  const { symbols: libc } = openLibc({
    socket: { args: ["i32", "i32", "i32"], returns: "i32" },
    ioctl: { args: ["i32", "u64", "ptr"], returns: "i32" },
  });
  const fd = check(libc.socket(AF_INET, SOCK_DGRAM_CLOEXEC, 0), "socket", name);
  try {
    const request = new Uint8Array(IFREQ_BYTES);
    new TextEncoder().encodeInto(name, request.subarray(0, FLAGS_AT - 1));
    if (libc.ioctl(fd, SIOCGIFFLAGS, request) < 0) throw new ErrnoError(errno(), "SIOCGIFFLAGS", name);
    const view = new DataView(request.buffer);
    view.setInt16(FLAGS_AT, view.getInt16(FLAGS_AT, true) | IFF_UP, true);
    if (libc.ioctl(fd, SIOCSIFFLAGS, request) < 0) throw new ErrnoError(errno(), "SIOCSIFFLAGS", name);
  } finally {
    close(fd);
  }
}
