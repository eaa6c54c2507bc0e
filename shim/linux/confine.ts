/** Taking from a process what its work does not need, before it reads what strangers wrote. */

import { FFIType as T } from "bun:ffi";
import { ErrnoError } from "./errno.ts";
import { address, check, cstring, libc, openLibc } from "./libc.ts";
import { mountCalls } from "./mount-libc.ts";

const PR_SET_PDEATHSIG = 1;
const PR_SET_NO_NEW_PRIVS = 38;
const SIGKILL = 9;
const ESRCH = 3;
const CLONE_NEWNS = 0x20000;
const MS_REC_PRIVATE = 0x4000 | 0x40000;
const SYS_capget = process.arch === "arm64" ? 90 : 125;
const SYS_capset = process.arch === "arm64" ? 91 : 126;
const CAPABILITY_VERSION_3 = 0x20080522;

function openCalls() {
  return openLibc({
    chroot: { args: [T.ptr], returns: T.i32 },
    getppid: { args: [], returns: T.i32 },
    setrlimit: { args: [T.i32, T.ptr], returns: T.i32 },
    syncfs: { args: [T.i32], returns: T.i32 },
    umask: { args: [T.u32], returns: T.u32 },
    unshare: { args: [T.i32], returns: T.i32 },
  });
}

let opened: ReturnType<typeof openCalls> | undefined;

function calls(): ReturnType<typeof openCalls>["symbols"] {
  opened ??= openCalls();
  return opened.symbols;
}

/**
 * The kernel kills this process when its parent ends.
 * @param parent pid of the parent, which may have ended already
 * @throws ErrnoError ESRCH when it has
 */
export function dieWithParent(parent: number): void {
  check(libc.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0), "prctl", "PR_SET_PDEATHSIG");
  if (calls().getppid() !== parent) throw new ErrnoError(ESRCH, "parent", parent);
}

/**
 * Gives the calling thread mounts, a root and a working directory of its own: what it mounts from now on nobody else
 * sees, and is gone with it. @throws ErrnoError
 */
export function unshareMounts(): void {
  check(calls().unshare(CLONE_NEWNS), "unshare", "mounts");
  const [none, root] = [cstring(""), cstring("/")];
  check(mountCalls().mount(none, root, none, MS_REC_PRIVATE, none), "mount", "/ private");
}

/** Makes an open directory the root and the working directory of the calling thread. @throws ErrnoError */
export function changeRoot(directory: number): void {
  const [here, root] = [cstring("."), cstring("/")];
  check(mountCalls().fchdir(directory), "chdir", directory);
  check(calls().chroot(here), "chroot", directory);
  check(libc.chdir(root), "chdir", "/");
}

/** No program that this process executes can gain rights. @throws ErrnoError */
export function forbidNewPrivileges(): void {
  check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl", "PR_SET_NO_NEW_PRIVS");
}

/** Capabilities by their number (linux/capability.h), as far as somebody here keeps one. */
export const Capability = {
  CHOWN: 0,
  DAC_OVERRIDE: 1,
  FOWNER: 3,
  FSETID: 4,
  SYS_ADMIN: 21,
  SYS_RESOURCE: 24,
  MKNOD: 27,
  SETFCAP: 31,
} as const;

/** Gives up all capabilities of the calling thread but these, as far as it has them. @throws ErrnoError */
export function keepCapabilities(kept: readonly number[]): void {
  const header = new Uint32Array([CAPABILITY_VERSION_3, 0]);
  // Effective, permitted, inheritable; twice, for 64 capabilities.
  const data = new Uint32Array(6);
  check(Number(libc.syscall(SYS_capget, address(header), address(data), 0, 0, 0)), "capget", 0);
  const bits = kept.reduce((all, number) => all | (1 << number), 0) & (data[1] ?? 0);
  data.set([bits, bits, 0, 0, 0, 0]);
  check(Number(libc.syscall(SYS_capset, address(header), address(data), 0, 0, 0)), "capset", bits);
}

/** RLIMIT_ numbers. */
export const Resource = { CORE: 4, NOFILE: 7 } as const;

/** Limits a resource of this process for good. @throws ErrnoError */
export function limitResource(resource: number, limit: number): void {
  const value = new BigUint64Array([BigInt(limit), BigInt(limit)]);
  check(calls().setrlimit(resource, value), "setrlimit", resource);
}

/** Sets the bits that new files never get. @returns those before */
export function setUmask(mask: number): number {
  return calls().umask(mask);
}

/** Writes out everything of the file system that an open file is on, and waits for it. @throws ErrnoError */
export function syncFileSystem(fd: number): void {
  check(calls().syncfs(fd), "syncfs", fd);
}
