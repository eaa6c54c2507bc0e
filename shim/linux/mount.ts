/** Mounts as mount(8) and containerd's mount package spell them, and recursive unmounting (contract 1.14). */

import { ErrnoError } from "./errno.ts";
import { canonicalPath, close, makeDirectories, readFile, readLink } from "./file.ts";
import { attachLoop } from "./loop.ts";
import { detach, mountAtOnce, mountParsed, orDetached, type ParsedMount } from "./mount-call.ts";
import { type IdMaps, MountError, MS, parseOptions } from "./mount-options.ts";

export { detach } from "./mount-call.ts";
export { MountError, mapsIds } from "./mount-options.ts";

/** One mount as a request names it. */
export interface Mount {
  readonly type: string;
  readonly source: string;
  /** Relative to the directory that is mounted on; empty for that directory itself. */
  readonly target: string;
  readonly options: readonly string[];
}

/** Makes a mount whose ids are mapped: `mountMapped` of idmap.ts, which is loaded only where there is such a mount. */
export type MountMapped = (mount: ParsedMount, target: string, ids: IdMaps) => void;

/**
 * Makes one mount on `directory` (or below it, where the mount names a target).
 * @param mountMapped needed for a mount that maps ids (see {@link mapsIds})
 * @returns the mount point
 * @throws MountError, ErrnoError; then nothing is mounted
 */
export function mount(mount: Mount, directory: string, mountMapped?: MountMapped): string {
  const { type, source } = mount;
  const { flags, propagation: spread, data, ids, loop } = parseOptions(mount.options);
  const target = targetOf(mount, directory);
  const make = (from: string): void => {
    if (ids === undefined) mountParsed({ type, source: from, flags, data }, target);
    else if (mountMapped !== undefined) mountMapped({ type, source: from, flags, data }, target, ids);
    else throw new MountError(`mount ${type || "bind"} ${from} on ${target}: mapped ids are not supported here`, true);
  };
  if (loop) onLoop(source, (flags & MS.RDONLY) !== 0, make);
  else make(source);
  if (spread === 0) return target;
  return orDetached(target, () => {
    mountAtOnce("", "", target, spread, []);
    return target;
  });
}

/** Calls `make` with a loop device of the file, which lets go of it with the last mount (UN-2, losetup_linux.go). */
function onLoop(file: string, readOnly: boolean, make: (device: string) => void): void {
  const { path, fd } = attachLoop(file, { readOnly, autoclear: true });
  try {
    make(path);
  } finally {
    close(fd);
  }
}

/**
 * The path to mount on. A target that leaves the directory is refused; a symbolic link, which the image may have put
 * there, leads where it would lead a process that has the directory as its root.
 */
function targetOf(mount: Mount, directory: string): string {
  if (mount.target === "") return directory;
  if (mount.target.split("/").includes("..")) {
    throw new MountError(`mount target ${JSON.stringify(mount.target)} leaves the rootfs`, true);
  }
  const path = resolveInRoot(directory, mount.target);
  makeDirectories(path, 0o755);
  return path;
}

const ELOOP = 40;
/** Links followed in one path, as in the kernel. */
const MAX_LINKS = 40;

function resolveInRoot(root: string, path: string): string {
  const left = path.split("/").reverse();
  const resolved: string[] = [];
  for (let links = 0; left.length > 0; ) {
    const part = left.pop() ?? "";
    if (part === "" || part === ".") continue;
    if (part === "..") {
      resolved.pop();
      continue;
    }
    const link = readLink([root, ...resolved, part].join("/"));
    if (link === undefined) {
      resolved.push(part);
      continue;
    }
    if (++links > MAX_LINKS) throw new ErrnoError(ELOOP, "mount target", path);
    if (link.startsWith("/")) resolved.length = 0;
    left.push(...link.split("/").reverse());
  }
  return [root, ...resolved].join("/");
}

/**
 * Makes all mounts of a rootfs, or none (T-CRE-2).
 * @param mountMapped as for {@link mount}
 * @throws MountError, ErrnoError
 */
export function mountAll(mounts: readonly Mount[], directory: string, mountMapped?: MountMapped): void {
  const done: string[] = [];
  try {
    for (const one of mounts) {
      done.push(mount(one, directory, mountMapped));
    }
  } catch (error) {
    for (const target of done.reverse()) {
      try {
        detach(target);
      } catch {
        // The first failure is the one to tell; what stays here is unmounted with the bundle.
      }
    }
    throw error;
  }
}

/** Mount points at and below `directory`, in the order in which they must be unmounted (last mounted first). */
export function mountsBelow(directory: string): string[] {
  return parseMountPoints(readFile("/proc/self/mountinfo", 64 << 20), canonicalPath(directory)).reverse();
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
