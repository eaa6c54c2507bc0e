/**
 * One change of the network at a time, on the whole machine: hooks of containers that start together, the daemon's
 * collection, the command. Plugins of 1.x race for the chains of iptables that they share, and hosts of one container are
 * written by the hooks of others.
 */

import { closeSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { deadlineExceeded } from "../../proto/errdefs.ts";
import { tryLockFile } from "../../shim/linux/index.ts";

/** Milliseconds to wait for others. Less than a hook's time, so that it can say why it failed. */
const WAIT_MS = 90_000;
/** Between two looks, in milliseconds; differs from hook to hook, so that none is starved by another's rhythm. */
const LOOK_MS = { least: 3, most: 15 };

/**
 * Runs something with the network's lock, which the kernel takes away from a process that ends.
 * @param run directory of the lock; made when missing
 * @throws ContainerdError DeadlineExceeded when others do not let go of it; what `work` throws
 */
export async function withLock<T>(run: string, work: () => Promise<T> | T): Promise<T> {
  mkdirSync(run, { recursive: true, mode: 0o711 });
  const path = join(run, "lock");
  const until = performance.now() + WAIT_MS;
  let fd = tryLockFile(path, 0o600);
  while (fd === undefined) {
    if (performance.now() > until) {
      throw deadlineExceeded(
        `the network was being changed by others for ${WAIT_MS / 1000} s: see which process has ${path} open (fuser ${path})`,
      );
    }
    await Bun.sleep(LOOK_MS.least + Math.random() * (LOOK_MS.most - LOOK_MS.least));
    fd = tryLockFile(path, 0o600);
  }
  try {
    return await work();
  } finally {
    closeSync(fd);
  }
}
