/** Mounts as mount(8) and containerd's mount package spell them, and recursive unmounting (contract 1.14). */

import { FFIType as T } from "bun:ffi";
import { ErrnoError } from "./errno.ts";
import { close, makeDirectories, O, open, readFile } from "./file.ts";
import { address, check, cstring, errno, libc, openLibc } from "./libc.ts";

/** One mount as a request names it. */
export interface Mount {
  readonly type: string;
  readonly source: string;
  /** Relative to the directory that is mounted on; empty for that directory itself. */
  readonly target: string;
  readonly options: readonly string[];
}

const MS = {
  RDONLY: 0x1,
  NOSUID: 0x2,
  NODEV: 0x4,
  NOEXEC: 0x8,
  SYNCHRONOUS: 0x10,
  REMOUNT: 0x20,
  MANDLOCK: 0x40,
  DIRSYNC: 0x80,
  NOATIME: 0x400,
  NODIRATIME: 0x800,
  BIND: 0x1000,
  REC: 0x4000,
  UNBINDABLE: 0x20000,
  PRIVATE: 0x40000,
  SLAVE: 0x80000,
  SHARED: 0x100000,
  RELATIME: 0x200000,
  STRICTATIME: 0x1000000,
} as const;

/** Option name to the flag it sets (true) or clears (false). */
const flagOptions: Record<string, readonly [flag: number, set: boolean]> = {
  async: [MS.SYNCHRONOUS, false],
  atime: [MS.NOATIME, false],
  bind: [MS.BIND, true],
  defaults: [0, true],
  dev: [MS.NODEV, false],
  diratime: [MS.NODIRATIME, false],
  dirsync: [MS.DIRSYNC, true],
  exec: [MS.NOEXEC, false],
  mand: [MS.MANDLOCK, true],
  noatime: [MS.NOATIME, true],
  nodev: [MS.NODEV, true],
  nodiratime: [MS.NODIRATIME, true],
  noexec: [MS.NOEXEC, true],
  nomand: [MS.MANDLOCK, false],
  norelatime: [MS.RELATIME, false],
  nostrictatime: [MS.STRICTATIME, false],
  nosuid: [MS.NOSUID, true],
  private: [MS.PRIVATE, true],
  rbind: [MS.BIND | MS.REC, true],
  relatime: [MS.RELATIME, true],
  remount: [MS.REMOUNT, true],
  ro: [MS.RDONLY, true],
  rprivate: [MS.PRIVATE | MS.REC, true],
  rshared: [MS.SHARED | MS.REC, true],
  rslave: [MS.SLAVE | MS.REC, true],
  runbindable: [MS.UNBINDABLE | MS.REC, true],
  rw: [MS.RDONLY, false],
  shared: [MS.SHARED, true],
  slave: [MS.SLAVE, true],
  strictatime: [MS.STRICTATIME, true],
  suid: [MS.NOSUID, false],
  sync: [MS.SYNCHRONOUS, true],
  unbindable: [MS.UNBINDABLE, true],
};

/** Options that need work which the client, the snapshotter or containerd's mount manager has to do (UN-2). */
const refusedOptions = ["loop", "uidmap=", "gidmap="];
const propagation = MS.SHARED | MS.PRIVATE | MS.SLAVE | MS.UNBINDABLE;
/** mount(2) takes one page of options. */
const PAGE = 4096;

/** A mount that cannot be made as asked; the text says which and why. */
export class MountError extends Error {
  override readonly name = "MountError";
  /** True when the request is at fault, not the system. */
  readonly invalid: boolean;
  constructor(message: string, invalid: boolean) {
    super(message);
    this.invalid = invalid;
  }
}

/** Options parsed into flags, propagation and the data string's parts. */
export function parseOptions(options: readonly string[]): { flags: number; propagation: number; data: string[] } {
  let flags = 0;
  const data: string[] = [];
  for (const option of options) {
    const known = flagOptions[option];
    if (known !== undefined) flags = known[1] ? flags | known[0] : flags & ~known[0];
    else if (
      refusedOptions.some((refused) => option === refused || (refused.endsWith("=") && option.startsWith(refused)))
    )
      throw new MountError(
        `mount option ${option} is not supported by this shim: let the snapshotter prepare it`,
        true,
      );
    else if (!option.startsWith("X-containerd.")) data.push(option);
  }
  return { flags: flags & ~propagation, propagation: flags & (propagation | (flags & propagation ? MS.REC : 0)), data };
}

/**
 * Shortens the options of an overlay by naming its directories relative to their common parent (UN-2).
 * @returns the parent, or undefined when there is none, and the options
 */
export function compactOverlay(data: readonly string[]): { directory: string | undefined; data: string[] } {
  const lower = data.find((option) => option.startsWith("lowerdir="))?.slice("lowerdir=".length);
  if (lower === undefined) return { directory: undefined, data: [...data] };
  const directories = lower.split(":");
  let common = directories[0] ?? "";
  for (const directory of directories) {
    while (common !== "" && !`${directory}/`.startsWith(`${common}/`))
      common = common.slice(0, common.lastIndexOf("/"));
  }
  if (directories.length === 1) common = common.slice(0, common.lastIndexOf("/"));
  if (common === "" || !common.startsWith("/")) return { directory: undefined, data: [...data] };
  const relative = directories.map((directory) => (directory === common ? "." : directory.slice(common.length + 1)));
  return {
    directory: common,
    data: data.map((option) => (option.startsWith("lowerdir=") ? `lowerdir=${relative.join(":")}` : option)),
  };
}

/**
 * Makes one mount on `directory` (or below it, where the mount names a target).
 * @throws MountError, ErrnoError; then nothing is mounted
 */
export function mount(mount: Mount, directory: string): void {
  const target = targetOf(mount, directory);
  const { flags, propagation: spread, data } = parseOptions(mount.options);
  if (mount.type === "overlay" && data.join(",").length >= PAGE) {
    const compact = compactOverlay(data);
    if (compact.data.join(",").length >= PAGE) mountByParts(mount.type, mount.source, target, flags, data);
    // The working directory is changed and changed back within one synchronous piece of code.
    else inDirectory(compact.directory, () => mountAtOnce(mount.type, mount.source, target, flags, compact.data));
  } else {
    mountAtOnce(mount.type, mount.source, target, flags, data);
  }
  try {
    // A bind ignores all other flags when it is made: they need a second call.
    const extras = flags & ~(MS.BIND | MS.REC | MS.REMOUNT);
    if ((flags & MS.BIND) !== 0 && extras !== 0) mountAtOnce("", "", target, flags | MS.REMOUNT, []);
    if (spread !== 0) mountAtOnce("", "", target, spread, []);
  } catch (error) {
    detach(target);
    throw error;
  }
}

/** The path to mount on; a target that leaves the directory is refused. */
function targetOf(mount: Mount, directory: string): string {
  if (mount.target === "") return directory;
  if (mount.target.split("/").includes("..")) {
    throw new MountError(`mount target ${JSON.stringify(mount.target)} leaves the rootfs`, true);
  }
  const path = `${directory}/${mount.target.replace(/^\/+/, "")}`;
  makeDirectories(path, 0o755);
  return path;
}

function mountAtOnce(type: string, source: string, target: string, flags: number, data: readonly string[]): void {
  const text = data.join(",");
  if (text.length >= PAGE) {
    const message = `mount ${source} on ${target}: ${text.length} bytes of options, the kernel reads ${PAGE - 1}`;
    throw new MountError(message, true);
  }
  const [from, onto, kind, options] = [cstring(source), cstring(target), cstring(type), cstring(text)];
  check(mountCalls().mount(from, onto, kind, flags, options), `mount ${type || "bind"} ${source} on`, target);
}

const SYS_move_mount = 429;
const SYS_fsopen = 430;
const SYS_fsconfig = 431;
const SYS_fsmount = 432;
const FSCONFIG_SET_FLAG = 0;
const FSCONFIG_SET_STRING = 1;
const FSCONFIG_CMD_CREATE = 6;
const MOVE_MOUNT_F_EMPTY_PATH = 4;
/** MS_ flags to the MOUNT_ATTR_ bits of fsmount(2). */
const attributes: readonly (readonly [number, number])[] = [
  [MS.RDONLY, 0x1],
  [MS.NOSUID, 0x2],
  [MS.NODEV, 0x4],
  [MS.NOEXEC, 0x8],
  [MS.NOATIME, 0x10],
];

/**
 * Mounts by the call that takes options one by one, which has no page limit; overlayfs takes each lower directory by
 * itself from Linux 6.5 on.
 */
function mountByParts(type: string, source: string, target: string, flags: number, data: readonly string[]): void {
  const call = `mount ${type} ${source} by parts on`;
  const syscall = (number: number, ...args: [number, number, number, number, number]) =>
    check(Number(libc.syscall(number, ...args)), call, target);
  const [name, empty, onto] = [cstring(type), cstring(""), cstring(target)];
  const context = syscall(SYS_fsopen, address(name), 1, 0, 0, 0);
  const configure = (command: number, key?: string, value?: string) => {
    const [k, v] = [key === undefined ? undefined : cstring(key), value === undefined ? undefined : cstring(value)];
    syscall(SYS_fsconfig, context, command, k ? address(k) : 0, v ? address(v) : 0, 0);
  };
  try {
    configure(FSCONFIG_SET_STRING, "source", source);
    for (const option of data) {
      const equals = option.indexOf("=");
      if (option.startsWith("lowerdir=")) {
        for (const lower of option.slice(equals + 1).split(":")) configure(FSCONFIG_SET_STRING, "lowerdir+", lower);
      } else if (equals < 0) configure(FSCONFIG_SET_FLAG, option);
      else configure(FSCONFIG_SET_STRING, option.slice(0, equals), option.slice(equals + 1));
    }
    configure(FSCONFIG_CMD_CREATE);
    const bits = attributes.reduce((all, [flag, bit]) => ((flags & flag) === 0 ? all : all | bit), 0);
    const mounted = syscall(SYS_fsmount, context, 1, bits, 0, 0);
    try {
      syscall(SYS_move_mount, mounted, address(empty), AT_FDCWD, address(onto), MOVE_MOUNT_F_EMPTY_PATH);
    } finally {
      close(mounted);
    }
  } finally {
    close(context);
  }
}

const AT_FDCWD = -100;

function inDirectory(directory: string | undefined, action: () => void): void {
  if (directory === undefined) return action();
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

/**
 * Makes all mounts of a rootfs, or none (T-CRE-2).
 * @throws MountError, ErrnoError
 */
export function mountAll(mounts: readonly Mount[], directory: string): void {
  const done: string[] = [];
  try {
    for (const one of mounts) {
      mount(one, directory);
      done.push(one.target === "" ? directory : targetOf(one, directory));
    }
  } catch (error) {
    for (const target of done.reverse()) detach(target);
    throw error;
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

/** Mount points at and below `directory`, in the order in which they must be unmounted (last mounted first). */
export function mountsBelow(directory: string): string[] {
  return parseMountPoints(readFile("/proc/self/mountinfo", 64 << 20), directory).reverse();
}

/** The mount points at and below `directory` in the text of a mountinfo file, in its order. */
export function parseMountPoints(mountinfo: string, directory: string): string[] {
  const found: string[] = [];
  for (let at = 0; at < mountinfo.length; ) {
    const end = mountinfo.indexOf("\n", at);
    const stop = end < 0 ? mountinfo.length : end;
    // Most lines are about something else; only those that name the directory are taken apart.
    const raw = mountinfo.slice(at, stop).split(" ", 5)[4];
    if (raw !== undefined) {
      const path = raw.includes("\\")
        ? raw.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)))
        : raw;
      if (path === directory || path.startsWith(`${directory}/`)) found.push(path);
    }
    at = stop + 1;
  }
  return found;
}

/**
 * Unmounts everything at and below `directory`, waiting for it in this process: for the binary calls.
 * @throws ErrnoError
 */
export function unmountRecursive(directory: string): void {
  for (const target of mountsBelow(directory)) detach(target);
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
    clone: { args: [T.ptr, T.ptr, T.i32, T.ptr], returns: T.i32 },
  });
}
