/**
 * Unmounting without stopping the event loop: the last unmount of an overlay writes its dirty pages out, which can take
 * seconds on a busy disk, and one container's disk must not stall another's requests (PR-7, R05).
 */

import type { Pointer } from "bun:ffi";
import { ErrnoError } from "./errno.ts";
import { address, check, cstring } from "./libc.ts";
import { detach, mountCalls, mountsBelow } from "./mount.ts";
import type { Reaper } from "./reaper.ts";

const SIGCHLD = 17;
const STACK_BYTES = 64 << 10;

/**
 * Unmounts everything at and below `directory`. Each unmount runs in a child made by clone(2) that shares nothing with
 * us and does nothing but call umount(3), so no JavaScript runs in it; the reaper tells when it is done.
 * @throws ErrnoError when something stays mounted
 */
export async function unmountRecursive(directory: string, reaper: Reaper): Promise<void> {
  for (const target of mountsBelow(directory)) {
    const exit = await umountInChild(target, reaper).exited;
    // Busy, or gone already: taking it out of the tree settles both, and says what is wrong otherwise.
    if (exit.status !== 0) detach(target);
  }
}

function umountInChild(target: string, reaper: Reaper) {
  const calls = mountCalls();
  const name = cstring("umount");
  const umount = calls.dlsym(0, name);
  if (umount === null) throw new ErrnoError(38, "dlsym", "umount");
  const path = cstring(target);
  const stack = new Uint8Array(STACK_BYTES);
  const end = address(stack) + STACK_BYTES;
  // The ABI wants the stack aligned to 16 bytes; an address does not fit the 32 bits of JavaScript's `&`.
  const top = end - (end % 16);
  return reaper.watch(() => check(calls.clone(umount, top as Pointer, SIGCHLD, path), "clone", target));
}
