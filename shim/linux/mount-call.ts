/** Single mounts, made and taken away, by the calls of the kernel. */

import { ErrnoError } from "./errno.ts";
import { close, O, open, readInto } from "./file.ts";
import { address, check, cstring, errno, libc } from "./libc.ts";
import { mountCalls } from "./mount-libc.ts";
import { compactOverlay, LOWER, MountError, MS, splitLower, unquote } from "./mount-options.ts";

/** A mount with its options taken apart, propagation aside. */
export interface ParsedMount {
  readonly type: string;
  readonly source: string;
  readonly flags: number;
  readonly data: readonly string[];
}

/** Makes a mount on exactly `target`, all or nothing. @throws MountError, ErrnoError */
export function mountParsed({ type, source, flags, data }: ParsedMount, target: string): void {
  if (type === "overlay" && !fitsPage(data)) {
    const compact = compactOverlay(data);
    const make = fitsPage(compact.data) ? mountAtOnce : mountByParts;
    // The working directory is changed and changed back within one synchronous piece of code.
    inDirectory(compact.directory, () => make(type, source, target, flags, compact.data));
  } else {
    mountAtOnce(type, source, target, flags, data);
  }
  // A bind ignores all other flags when it is made: they need a second call.
  const extras = flags & ~(MS.BIND | MS.REC | MS.REMOUNT);
  if ((flags & MS.BIND) === 0 || extras === 0) return;
  orDetached(target, () => mountAtOnce("", "", target, flags | MS.REMOUNT, []));
}

/** What `action` answers; when it fails, the mount on `target` is taken away. */
export function orDetached<T>(target: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    detach(target);
    throw error;
  }
}

/** mount(2) reads one page of options, the last byte of it a NUL, and cuts off what is longer without a word. */
const PAGE = 4096;

function fitsPage(data: readonly string[]): boolean {
  return cstring(data.join(",")).length <= PAGE;
}

/** One call of mount(2). @throws MountError, ErrnoError */
export function mountAtOnce(
  type: string,
  source: string,
  target: string,
  flags: number,
  data: readonly string[],
): void {
  const [from, onto, kind, options] = [cstring(source), cstring(target), cstring(type), cstring(data.join(","))];
  if (options.length > PAGE) {
    const message = `mount ${source} on ${target}: ${options.length - 1} bytes of options, the kernel reads ${PAGE - 1}`;
    throw new MountError(message, true);
  }
  check(mountCalls().mount(from, onto, kind, flags, options), `mount ${type || "bind"} ${source} on`, target);
}

const SYS_move_mount = 429;
const SYS_fsopen = 430;
const SYS_fsconfig = 431;
const SYS_fsmount = 432;
/** FSOPEN_CLOEXEC and FSMOUNT_CLOEXEC. */
const FS_CLOEXEC = 1;
const FSCONFIG_SET_FLAG = 0;
const FSCONFIG_SET_STRING = 1;
const FSCONFIG_CMD_CREATE = 6;
const MOVE_MOUNT_F_EMPTY_PATH = 4;
/** MS_ flags to the MOUNT_ATTR_ bits of fsmount(2). */
const attributes: readonly (readonly [flag: number, bit: number])[] = [
  [MS.RDONLY, 0x1],
  [MS.NOSUID, 0x2],
  [MS.NODEV, 0x4],
  [MS.NOEXEC, 0x8],
  [MS.NOATIME, 0x10],
  [MS.STRICTATIME, 0x20],
  [MS.NODIRATIME, 0x80],
];
/** MS_ flags that are settings of the file system itself. */
const settings: readonly (readonly [flag: number, name: string])[] = [
  [MS.SYNCHRONOUS, "sync"],
  [MS.DIRSYNC, "dirsync"],
  [MS.MANDLOCK, "mand"],
];
/** OVL_MAX_STACK of the kernel. */
const MAX_LOWER = 500;

/**
 * Mounts an overlay by the calls that take options one by one, which have no page limit; overlayfs takes each lower
 * directory by itself from Linux 6.5 on.
 * @throws MountError, ErrnoError
 */
function mountByParts(type: string, source: string, target: string, flags: number, data: readonly string[]): void {
  const call = `mount ${type} ${source} by parts on`;
  const syscall = (number: number, ...args: [number, number, number, number, number]) =>
    check(Number(libc.syscall(number, ...args)), call, target);
  const [name, empty, onto] = [cstring(type), cstring(""), cstring(target)];
  const line = data.reduce((sum, option) => sum + lineBytes(option), 0);
  if (line > MAX_LINE) {
    throw new MountError(
      `${call} ${target}: ${line} bytes in the mount table, where a line may have ${MAX_LINE}`,
      true,
    );
  }
  const context = syscall(SYS_fsopen, address(name), FS_CLOEXEC, 0, 0, 0);
  const configure = (command: number, key?: string, value?: string) => {
    const [k, v] = [key === undefined ? undefined : cstring(key), value === undefined ? undefined : cstring(value)];
    const at = [k ? address(k) : 0, v ? address(v) : 0] as const;
    if (Number(libc.syscall(SYS_fsconfig, context, command, ...at, 0)) < 0) throw refused(context, call, target);
  };
  try {
    configure(FSCONFIG_SET_STRING, "source", source);
    for (const [flag, setting] of settings) if ((flags & flag) !== 0) configure(FSCONFIG_SET_FLAG, setting);
    for (const option of data) {
      const equals = option.indexOf("=");
      if (option.startsWith(LOWER)) {
        const lowers = splitLower(option.slice(LOWER.length));
        if (option.includes("::")) throw new MountError(`${call} ${target}: data-only layers are not supported`, true);
        if (lowers.length > MAX_LOWER) {
          throw new MountError(
            `${call} ${target}: ${lowers.length} lower directories, the kernel takes ${MAX_LOWER}`,
            true,
          );
        }
        for (const lower of lowers) configure(FSCONFIG_SET_STRING, "lowerdir+", unquote(lower));
      } else if (equals < 0) configure(FSCONFIG_SET_FLAG, option);
      else configure(FSCONFIG_SET_STRING, option.slice(0, equals), unquote(option.slice(equals + 1)));
    }
    configure(FSCONFIG_CMD_CREATE);
    const bits = attributes.reduce((all, [flag, bit]) => ((flags & flag) === 0 ? all : all | bit), 0);
    const mounted = syscall(SYS_fsmount, context, FS_CLOEXEC, bits, 0, 0);
    try {
      syscall(SYS_move_mount, mounted, address(empty), AT_FDCWD, address(onto), MOVE_MOUNT_F_EMPTY_PATH);
    } finally {
      close(mounted);
    }
  } finally {
    close(context);
  }
}

/**
 * What an option may take in /proc/self/mountinfo. runc and containerd give up on the whole table at a line of 65,536
 * bytes: such a mount would stop every container of the machine from starting. The rest is for paths and for escapes.
 */
const MAX_LINE = 60_000;

/** Bytes of an option in the mount table, where every lower directory has a name of its own before it. */
function lineBytes(option: string): number {
  const bytes = cstring(option).length;
  return option.startsWith(LOWER) ? bytes + splitLower(option.slice(LOWER.length)).length * "lowerdir+=".length : bytes;
}

/** The error of a refused setting, in the words that the kernel left in the context, if it did. */
function refused(context: number, call: string, target: string): Error {
  const error = new ErrnoError(errno(), call, target);
  const said = new Uint8Array(1024);
  try {
    const length = readInto(context, said);
    const text = new TextDecoder().decode(said.subarray(0, Math.max(0, length))).trim();
    return new MountError(`${error.message}: ${text.replace(/^[a-z] /, "")}`, false);
  } catch {
    return error;
  }
}

const AT_FDCWD = -100;

function inDirectory(directory: string | undefined, action: () => void): void {
  if (directory === undefined) {
    action();
    return;
  }
  const before = open(".", O.PATH | O.DIRECTORY);
  try {
    const path = cstring(directory);
    check(libc.chdir(path), "chdir", directory);
    try {
      action();
    } finally {
      mountCalls().fchdir(before);
    }
  } finally {
    close(before);
  }
}

const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;

/** Takes a mount out of the tree at once; the kernel lets go of it when nobody uses it any more. @throws ErrnoError */
export function detach(target: string): void {
  const path = cstring(target);
  if (mountCalls().umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) === 0) return;
  const error = errno();
  // EINVAL: not a mount point; ENOENT: not even there.
  if (error !== 22 && error !== 2) throw new ErrnoError(error, "umount", target);
}
