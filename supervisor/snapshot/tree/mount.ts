/** Making and taking away mounts for the mount manager, in the daemon's mount namespace: either may wait for a disk. */

import { readlinkSync, symlinkSync, unlinkSync } from "node:fs";
import { attachLoop, close, detach, detachLoop, type Mount, mountAll } from "../../../shim/linux/index.ts";

/** Type of a mount that makes a file a device, and the mount point a link to it. */
const LOOP = "loop";

/** Makes one mount on `target`, a directory; for a loop a link, which must not be there. @throws ErrnoError, MountError */
export function makeMount(mount: Mount, target: string): void {
  const readOnly = mount.options.includes("ro");
  if (mount.type === LOOP) {
    const loop = attachLoop(mount.source, { readOnly, autoclear: false });
    try {
      symlinkSync(loop.path, target);
    } catch (error) {
      detachLoop(loop.path);
      throw error;
    } finally {
      close(loop.fd);
    }
    return;
  }
  if (!mount.options.includes("loop")) {
    mountAll([mount], target);
    return;
  }
  // Once it is mounted, the device lives as long as the mount.
  const loop = attachLoop(mount.source, { readOnly, autoclear: true });
  try {
    mountAll([{ ...mount, source: loop.path, options: mount.options.filter((option) => option !== "loop") }], target);
  } finally {
    close(loop.fd);
  }
}

/** Takes away what {@link makeMount} has made; nothing there is fine. @throws ErrnoError */
export function removeMount(target: string): void {
  const device = linkOf(target);
  if (device === undefined) {
    detach(target);
    return;
  }
  if (/^\/dev\/loop\d+$/.test(device)) detachLoop(device);
  unlinkSync(target);
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}
