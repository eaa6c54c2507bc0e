/**
 * The only place that opens libc. Everything above sees functions with ordinary arguments that throw `ErrnoError`.
 *
 * Invariants: arguments are scalars or byte arrays; an array handed to a call is referenced by the caller's frame until
 * the call returns; nothing here keeps a pointer across calls. Layouts are those of glibc and Linux on 64-bit machines.
 */

import { dlopen, ptr, read, FFIType as T } from "bun:ffi";
import { ErrnoError } from "./errno.ts";

const library = dlopen("libc.so.6", {
  __errno_location: { args: [], returns: T.ptr },
  open: { args: [T.ptr, T.i32, T.u32], returns: T.i32 },
  close: { args: [T.i32], returns: T.i32 },
  read: { args: [T.i32, T.ptr, T.u64], returns: T.i64_fast },
  write: { args: [T.i32, T.ptr, T.u64], returns: T.i64_fast },
  fcntl: { args: [T.i32, T.i32, T.i64_fast], returns: T.i32 },
  pipe2: { args: [T.ptr, T.i32], returns: T.i32 },
  dup3: { args: [T.i32, T.i32, T.i32], returns: T.i32 },
  ftruncate: { args: [T.i32, T.i64_fast], returns: T.i32 },
  lseek: { args: [T.i32, T.i64_fast, T.i32], returns: T.i64_fast },
  fchown: { args: [T.i32, T.u32, T.u32], returns: T.i32 },
  mkdir: { args: [T.ptr, T.u32], returns: T.i32 },
  rmdir: { args: [T.ptr], returns: T.i32 },
  unlink: { args: [T.ptr], returns: T.i32 },
  rename: { args: [T.ptr, T.ptr], returns: T.i32 },
  access: { args: [T.ptr, T.i32], returns: T.i32 },
  readlink: { args: [T.ptr, T.ptr, T.u64], returns: T.i64_fast },
  statx: { args: [T.i32, T.ptr, T.i32, T.u32, T.ptr], returns: T.i32 },
  chdir: { args: [T.ptr], returns: T.i32 },
  memfd_create: { args: [T.ptr, T.u32], returns: T.i32 },
  prctl: { args: [T.i32, T.u64, T.u64, T.u64, T.u64], returns: T.i32 },
  wait4: { args: [T.i32, T.ptr, T.i32, T.ptr], returns: T.i32 },
  kill: { args: [T.i32, T.i32], returns: T.i32 },
  syscall: { args: [T.i64_fast, T.i64_fast, T.i64_fast, T.i64_fast, T.i64_fast, T.i64_fast], returns: T.i64_fast },
  posix_spawn: { args: [T.ptr, T.ptr, T.ptr, T.ptr, T.ptr, T.ptr], returns: T.i32 },
  posix_spawn_file_actions_init: { args: [T.ptr], returns: T.i32 },
  posix_spawn_file_actions_adddup2: { args: [T.ptr, T.i32, T.i32], returns: T.i32 },
  posix_spawn_file_actions_destroy: { args: [T.ptr], returns: T.i32 },
  posix_spawnattr_init: { args: [T.ptr], returns: T.i32 },
  posix_spawnattr_setflags: { args: [T.ptr, T.i32], returns: T.i32 },
  posix_spawnattr_setsigmask: { args: [T.ptr, T.ptr], returns: T.i32 },
  posix_spawnattr_setsigdefault: { args: [T.ptr, T.ptr], returns: T.i32 },
  posix_spawnattr_setpgroup: { args: [T.ptr, T.i32], returns: T.i32 },
});

/** The raw functions, for the other files of this folder only. */
export const libc = library.symbols;

/** Opens more of libc, for a file of this folder that needs calls which most processes never make. */
export function openLibc<const Fns extends Parameters<typeof dlopen>[1]>(symbols: Fns) {
  return dlopen("libc.so.6", symbols);
}

/** errno as the last libc call of this thread left it. */
export function errno(): number {
  const location = libc.__errno_location();
  return location === null ? 0 : read.i32(location, 0);
}

/** Throws for a negative result, else gives it back. `subject` is what the call was about (a path, a pid). */
export function check(result: number, call: string, subject: string | number): number {
  if (result < 0) throw new ErrnoError(errno(), call, subject);
  return result;
}

const encoder = new TextEncoder();

/**
 * A NUL-terminated copy of `text`.
 * @throws ErrnoError EINVAL when the text holds a NUL itself, which libc would silently cut off.
 */
export function cstring(text: string): Uint8Array {
  if (text.includes("\0")) throw new ErrnoError(22, "path", JSON.stringify(text));
  return encoder.encode(`${text}\0`);
}

/** The address of a byte array; valid while the array is referenced and not resized. */
export function address(bytes: NodeJS.TypedArray | ArrayBufferLike): number {
  return ptr(bytes);
}
