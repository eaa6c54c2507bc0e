/**
 * Calls of libc that only a process with something to mount or unmount makes, and children made by clone(2) that do
 * nothing but one such call: no JavaScript runs in them.
 */

import { type Pointer, FFIType as T } from "bun:ffi";
import { ErrnoError } from "./errno.ts";
import { address, check, cstring, openLibc } from "./libc.ts";

const CLONE_VM = 0x100;
const CLONE_SETTLS = 0x80000;
const SIG_SETMASK = 2;
/** sizeof(sigset_t) of glibc. */
const SIGSET_BYTES = 128;
/** Of the child's stack, and of its thread area, which libc reaches into in both directions. */
const AREA_BYTES = 64 << 10;
const PROT_READ_WRITE = 3;
const MAP_PRIVATE_ANONYMOUS = 0x22;

/** Such a child. */
export interface Clone {
  readonly pid: number;
  /** Lets go of the memory that the child runs on; for whoever has waited for its end. */
  release(): void;
}

/** What children are called with; kept from the collector until they have ended. */
const inUse = new Set<object>();

/**
 * Makes a child that calls `name(argument)` of libc and ends. It shares our memory, so that no page tables are copied
 * (1 to 3 ms), and has a stack and a thread area of its own, so that its errno is not ours. All signals are blocked in
 * it: our handlers, run there, would work on our memory beside us.
 * @param flags of clone(2), with the signal that tells of the child's end
 * @throws ErrnoError
 */
export function cloneCalling(name: string, argument: number | Uint8Array, flags: number): Clone {
  const calls = mountCalls();
  const symbol = calls.dlsym(0, cstring(name));
  if (symbol === null) throw new ErrnoError(38, "dlsym", name);
  // Not the collector's memory: in a shim that is small, so much of it at once would make it collect, for 2 ms.
  const mapped = Number(calls.mmap(null, 3 * AREA_BYTES, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0));
  const area = check(mapped, "map a stack to call", name);
  const held = { argument };
  const release = () => {
    if (inUse.delete(held)) calls.munmap(area, 3 * AREA_BYTES);
  };
  // The stack grows down from one multiple of the size, and what is the thread's lies on both sides of the next.
  const [top, middle] = [(area + AREA_BYTES) as Pointer, (area + 2 * AREA_BYTES) as Pointer];
  const value = (typeof argument === "number" ? argument : address(argument)) as Pointer;
  const before = new Uint8Array(SIGSET_BYTES);
  inUse.add(held);
  calls.sigprocmask(SIG_SETMASK, new Uint8Array(SIGSET_BYTES).fill(0xff), before);
  try {
    const pid = calls.clone(symbol, top, CLONE_VM | CLONE_SETTLS | flags, value, null, middle, null);
    return { pid: check(pid, "clone to call", name), release };
  } catch (error) {
    release();
    throw error;
  } finally {
    calls.sigprocmask(SIG_SETMASK, before, null);
  }
}

let calls: ReturnType<typeof openMountCalls> | undefined;

/** The calls that only a process with something to mount needs. */
export function mountCalls(): ReturnType<typeof openMountCalls>["symbols"] {
  calls ??= openMountCalls();
  return calls.symbols;
}

function openMountCalls() {
  return openLibc({
    mount: { args: [T.ptr, T.ptr, T.ptr, T.u64, T.ptr], returns: T.i32 },
    umount2: { args: [T.ptr, T.i32], returns: T.i32 },
    fchdir: { args: [T.i32], returns: T.i32 },
    dlsym: { args: [T.u64, T.ptr], returns: T.ptr },
    mmap: { args: [T.ptr, T.u64, T.i32, T.i32, T.i32, T.i64_fast], returns: T.i64_fast },
    munmap: { args: [T.i64_fast, T.u64], returns: T.i32 },
    sigprocmask: { args: [T.i32, T.ptr, T.ptr], returns: T.i32 },
    clone: { args: [T.ptr, T.ptr, T.i32, T.ptr, T.ptr, T.ptr, T.ptr], returns: T.i32 },
  });
}
