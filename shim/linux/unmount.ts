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
const CLONE_VM = 0x100;
const CLONE_SETTLS = 0x80000;
const SIG_SETMASK = 2;
/** sizeof(sigset_t) of glibc. */
const SIGSET_BYTES = 128;
/** Of the child's stack, and of its thread area, which libc reaches into in both directions. */
const AREA_BYTES = 64 << 10;

/** What children at work run on; kept from the collector until they have ended. */
const inUse = new Set<Uint8Array>();

/**
 * Unmounts everything at and below `directory`. Each unmount runs in a child made by clone(2) that does nothing but call
 * umount(3): no JavaScript runs in it, and the reaper tells when it is done. It shares our memory, so that no page
 * tables are copied (1 to 3 ms), and has a stack and a thread area of its own, so that its errno is not ours. All
 * signals are blocked in it: our handlers, run there, would work on our memory beside us.
 * @throws ErrnoError when something stays mounted
 */
export async function unmountRecursive(directory: string, reaper: Reaper): Promise<void> {
  for (const target of mountsBelow(directory)) {
    // Busy, or gone already: taking it out of the tree settles both, and says what is wrong otherwise.
    if (!(await umountInChild(target, reaper))) detach(target);
  }
}

async function umountInChild(target: string, reaper: Reaper): Promise<boolean> {
  const calls = mountCalls();
  const umount = calls.dlsym(0, cstring("umount"));
  if (umount === null) throw new ErrnoError(38, "dlsym", "umount");
  const path = cstring(target);
  const stack = new Uint8Array(AREA_BYTES);
  const thread = new Uint8Array(2 * AREA_BYTES);
  const memory = [path, stack, thread];
  for (const area of memory) inUse.add(area);
  try {
    const [top, middle] = [aligned(address(stack) + AREA_BYTES), aligned(address(thread) + AREA_BYTES)];
    const flags = CLONE_VM | CLONE_SETTLS | SIGCHLD;
    const before = new Uint8Array(SIGSET_BYTES);
    calls.sigprocmask(SIG_SETMASK, new Uint8Array(SIGSET_BYTES).fill(0xff), before);
    const child = reaper.watch(() => {
      try {
        return check(calls.clone(umount, top, flags, path, null, middle, null), "clone", target);
      } finally {
        calls.sigprocmask(SIG_SETMASK, before, null);
      }
    });
    return (await child.exited).status === 0;
  } finally {
    for (const area of memory) inUse.delete(area);
  }
}

/** The ABI wants such addresses in multiples of 64; they do not fit the 32 bits of JavaScript's `&`. */
function aligned(pointer: number): Pointer {
  return (pointer - (pointer % 64)) as Pointer;
}
