/** How a root that cannot be pivoted away is told from others. */

import { expect, test } from "bun:test";
import { isFixedRoot, isInitramfs } from "../../../../shim/linux/initramfs.ts";

const proc = "21 1 0:20 / /proc rw,relatime - proc proc rw";

test("the kernel's first file system hangs on no other", () => {
  expect(isFixedRoot(`1 1 0:2 / / rw - rootfs none rw\n${proc}\n`)).toBe(true);
  expect(isFixedRoot(`1 1 0:2 / / rw,relatime shared:1 - rootfs rootfs rw,size=1k\n${proc}\n`)).toBe(true);
});

test("a disk, a live system's tmpfs and the initramfs of newer kernels can be pivoted away", () => {
  for (const root of [
    "25 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw",
    "25 1 0:25 / / rw,relatime - tmpfs tmpfs rw",
    // Linux 7 has one that is empty below it.
    "2 1 0:3 / / rw - rootfs rootfs rw",
    // Somebody else's name.
    "25 25 0:2 / /rootfs rw - rootfs none rw",
    "",
  ]) {
    expect(isFixedRoot(`${root}\n${proc}\n`)).toBe(false);
  }
  expect(isInitramfs()).toBe(false);
});
