/** Whether the machine runs from its initramfs, whose root pivot_root(2) cannot move away. */

import { readFileIfExists } from "./file.ts";
import { address, cstring, libc } from "./libc.ts";

const SYS_statfs = process.arch === "arm64" ? 43 : 137;
/** Magic numbers of ramfs and tmpfs, of which an initramfs can be. */
const RAM: readonly number[] = [0x8584_58f6, 0x0102_1994];

/** True when "/" is the kernel's first file system. Elsewhere it costs one statfs(2). */
export function isInitramfs(): boolean {
  // Longer than struct statfs, which begins with the magic number.
  const [path, found] = [cstring("/"), new Uint32Array(32)];
  if (Number(libc.syscall(SYS_statfs, address(path), address(found), 0, 0, 0, 0)) < 0) return false;
  return RAM.includes(found[0] ?? 0) && isFixedRoot(readFileIfExists("/proc/self/mountinfo") ?? "");
}

/** True when a mountinfo file has the root as a `rootfs` that hangs on no other mount; since Linux 7.0 it may hang on one. */
export function isFixedRoot(mountinfo: string): boolean {
  return mountinfo.split("\n").some((line) => {
    const [id, parent, , , path] = line.split(" ");
    return path === "/" && id === parent && line.split(" - ")[1]?.startsWith("rootfs ");
  });
}
