/**
 * Unmounting without stopping the event loop: the last unmount of an overlay writes its dirty pages out, which can take
 * seconds on a busy disk, and one container's disk must not stall another's requests (PR-7, R05).
 */

import { cstring } from "./libc.ts";
import { detach, mountsBelow } from "./mount.ts";
import { type Clone, cloneCalling } from "./mount-libc.ts";
import type { Reaper } from "./reaper.ts";

const SIGCHLD = 17;

/**
 * Unmounts everything at and below `directory`. Each unmount runs in a child that does nothing but call umount(3): the
 * reaper tells when it is done.
 * @throws ErrnoError when something stays mounted
 */
export async function unmountRecursive(directory: string, reaper: Reaper): Promise<void> {
  for (const target of mountsBelow(directory)) {
    // Busy, or gone already: taking it out of the tree settles both, and says what is wrong otherwise.
    if (!(await umountInChild(target, reaper))) detach(target);
  }
}

async function umountInChild(target: string, reaper: Reaper): Promise<boolean> {
  let clone: Clone | undefined;
  try {
    const child = reaper.watch(() => {
      clone = cloneCalling("umount", cstring(target), SIGCHLD);
      return clone.pid;
    });
    return (await child.exited).status === 0;
  } finally {
    clone?.release();
  }
}
