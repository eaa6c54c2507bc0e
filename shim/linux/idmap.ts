/**
 * Mounts whose files have other owners than on the disk: what containerd's snapshotters ask for by `uidmap` and `gidmap`
 * for a container in a user namespace of its own (UN-2), so that its root owns the files of an image that all share.
 *
 * Loaded only where a rootfs asks for it. All of it is one synchronous piece of code: nobody sees what lies at the
 * target meanwhile, and the reaper never meets the child.
 */

import { WAIT_ALL, waitForChild } from "./child.ts";
import { ErrnoError } from "./errno.ts";
import { close, makeDirectory, O, open, writeFile } from "./file.ts";
import { address, check, cstring, libc } from "./libc.ts";
import { detach, mountAtOnce, mountParsed, orDetached, type ParsedMount } from "./mount-call.ts";
import { type Clone, cloneCalling } from "./mount-libc.ts";
import { type IdMaps, LOWER, MountError, MS, splitLower, unquote } from "./mount-options.ts";

/** Ids are 32 bits wide, and the highest means "no id". */
const NO_ID = 0xffff_ffff;
/** UID_GID_MAP_MAX_EXTENTS of the kernel. */
const MAX_EXTENTS = 340;

/**
 * A map as an option spells it, in the spelling of /proc/PID/uid_map.
 * @param option its name, for messages
 * @throws MountError
 */
export function parseIdMap(option: string, text: string): string {
  const refused = (why: string) => new MountError(`mount option ${option}=${text}: ${why}`, true);
  const extents = text.split(",").map((part) => {
    if (!/^\d{1,10}:\d{1,10}:\d{1,10}$/.test(part)) {
      throw refused(`${JSON.stringify(part)} is not of the form CONTAINER:HOST:LENGTH`);
    }
    const [inside = 0, outside = 0, length = 0] = part.split(":").map(Number);
    if (length === 0) throw refused(`${part} maps nothing`);
    if (Math.max(inside, outside) + length > NO_ID) throw refused(`${part} goes past the highest id, ${NO_ID - 1}`);
    return [inside, outside, length] as const;
  });
  if (extents.length > MAX_EXTENTS) throw refused(`${extents.length} ranges, the kernel takes ${MAX_EXTENTS}`);
  for (const side of [0, 1] as const) {
    const sorted = extents.toSorted((a, b) => a[side] - b[side]);
    const clash = sorted.find(
      (extent, i) => i > 0 && extent[side] < (sorted[i - 1]?.[side] ?? 0) + (sorted[i - 1]?.[2] ?? 0),
    );
    if (clash !== undefined) throw refused(`ranges overlap at ${side === 0 ? "container" : "host"} id ${clash[side]}`);
  }
  return `${extents.map((extent) => extent.join(" ")).join("\n")}\n`;
}

/**
 * Makes a mount on `target` whose ids are mapped, all or nothing. Of an overlay the lower directories are mapped, as
 * overlayfs wants it; the upper one has the owners of the container's side already.
 * @throws MountError, ErrnoError
 */
export function mountMapped(mount: ParsedMount, target: string, ids: IdMaps): void {
  const maps = [parseIdMap("uidmap", ids.uids), parseIdMap("gidmap", ids.gids)] as const;
  const namespace = userNamespace(...maps);
  try {
    if (mount.type === "overlay") mountOverlay(mount, target, namespace);
    else mountOther(mount, target, namespace);
  } finally {
    close(namespace);
  }
}

/** Mounts as asked, and then puts a mapped copy in its place: only what was never attached can be mapped. */
function mountOther(mount: ParsedMount, target: string, namespace: number): void {
  mountParsed(mount, target);
  const tree = orDetached(target, () => mappedTree(target, namespace, (mount.flags & MS.REC) === 0 ? 0 : AT_RECURSIVE));
  try {
    detach(target);
    attach(tree, target);
  } finally {
    close(tree);
  }
}

/**
 * Mounts an overlay on mapped copies of its lower directories. These must be attached somewhere while the overlay is
 * made, which then has its own copies of them: they are, with the overlay, in a file system in memory on the target
 * itself. So whatever happens to this process meanwhile, what it leaves is taken away with the rootfs. They are
 * read-only: who removes the bundle without looking for mounts must not empty the layers of an image.
 */
function mountOverlay(mount: ParsedMount, target: string, namespace: number): void {
  const option = mount.data.find((part) => part.startsWith(LOWER));
  const lowers = splitLower(option?.slice(LOWER.length) ?? "");
  if (lowers.length === 0 || option?.includes("::")) {
    throw new MountError(`mount overlay on ${target}: ids can be mapped of lower directories alone`, true);
  }
  mountAtOnce("tmpfs", "berth-idmap", target, MS.NOSUID | MS.NODEV | MS.NOEXEC, ["mode=0700"]);
  const overlay = stagedAt(target, () => {
    // Private, so that mounts below are not made again in every namespace that follows ours.
    mountAtOnce("", "", target, MS.PRIVATE, []);
    lowers.forEach((lower, index) => {
      makeDirectory(`${target}/${index}`, 0o700);
      const tree = mappedTree(unquote(lower), namespace, 0, MOUNT_ATTR_RDONLY);
      try {
        attach(tree, `${target}/${index}`);
      } finally {
        close(tree);
      }
    });
    const staged = `${quote(target)}/`;
    const data = mount.data.map((part) =>
      part === option ? LOWER + lowers.map((_, index) => staged + index).join(":") : part,
    );
    makeDirectory(`${target}/overlay`, 0o700);
    mountParsed({ ...mount, data }, `${target}/overlay`);
    return openTree(`${target}/overlay`, 0);
  });
  try {
    attach(overlay, target);
  } finally {
    close(overlay);
  }
}

/** Runs `action` and takes away what is mounted on `target`, whatever comes of it. @returns a descriptor */
function stagedAt(target: string, action: () => number): number {
  const tree = orDetached(target, action);
  try {
    detach(target);
    return tree;
  } catch (error) {
    close(tree);
    throw error;
  }
}

/** A path as a part of an option: overlayfs reads a colon as the end of it, and a backslash before any character. */
function quote(path: string): string {
  return path.replace(/[\\:,]/g, "\\$&");
}

const SYS_open_tree = 428;
const SYS_move_mount = 429;
const SYS_mount_setattr = 442;
const OPEN_TREE_CLONE = 1;
const OPEN_TREE_CLOEXEC = 0o2000000;
const MOVE_MOUNT_F_EMPTY_PATH = 4;
const MOUNT_ATTR_RDONLY = 1;
const MOUNT_ATTR_IDMAP = 0x100000;
const AT_FDCWD = -100;
const AT_EMPTY_PATH = 0x1000;
const AT_RECURSIVE = 0x8000;
const [EINVAL, ENOSPC, ENOSYS] = [22, 28, 38];

/** A copy of the mount that `path` is in, from `path` on, attached nowhere. @returns its descriptor @throws ErrnoError */
function openTree(path: string, recursive: number): number {
  const name = cstring(path);
  const flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | recursive;
  const result = Number(libc.syscall(SYS_open_tree, AT_FDCWD, address(name), flags, 0, 0));
  return check(result, "open_tree", path);
}

/** The same, with ids mapped as in a user namespace. @returns its descriptor @throws MountError, ErrnoError */
function mappedTree(path: string, namespace: number, recursive: number, attributes = 0): number {
  const tree = openTree(path, recursive);
  // struct mount_attr: to set, to clear, propagation, descriptor of the namespace.
  const wanted = new BigUint64Array([BigInt(MOUNT_ATTR_IDMAP | attributes), 0n, 0n, BigInt(namespace)]);
  const empty = cstring("");
  try {
    const flags = AT_EMPTY_PATH | recursive;
    const call = libc.syscall(SYS_mount_setattr, tree, address(empty), flags, address(wanted), wanted.byteLength);
    check(Number(call), "map ids of", path);
    return tree;
  } catch (error) {
    close(tree);
    throw error instanceof ErrnoError ? explained(error) : error;
  }
}

/** The kernel's refusals in words: it says EINVAL where a file system cannot do it. */
function explained(error: ErrnoError): Error {
  const words: Readonly<Record<number, string>> = {
    [EINVAL]: "its file system does not support mapped ids in this kernel",
    [ENOSYS]: "this kernel has no mapped ids (Linux 5.12 and later have them)",
    [ENOSPC]: "no more user namespaces are allowed (sysctl user.max_user_namespaces)",
  };
  const why = words[error.errno];
  return why === undefined ? error : new MountError(`${error.message}: ${why}`, false);
}

function attach(tree: number, target: string): void {
  const [empty, onto] = [cstring(""), cstring(target)];
  const result = libc.syscall(SYS_move_mount, tree, address(empty), AT_FDCWD, address(onto), MOVE_MOUNT_F_EMPTY_PATH);
  check(Number(result), "move_mount to", target);
}

const CLONE_NEWUSER = 0x10000000;
const SIGKILL = 9;
/** Seconds that the child sleeps for, if we die before we kill it. */
const CHILD_SLEEP = 60;

/**
 * A user namespace with these maps. Only a process can bring one into being, and one with threads cannot do so itself:
 * a child sleeps in it until the maps are written. It has no signal for its end, so no other wait(2) than ours sees it.
 * @returns its descriptor @throws MountError, ErrnoError
 */
function userNamespace(uids: string, gids: string): number {
  let child: Clone;
  try {
    child = cloneCalling("sleep", CHILD_SLEEP, CLONE_NEWUSER);
  } catch (error) {
    throw error instanceof ErrnoError && error.errno === ENOSPC ? explained(error) : error;
  }
  let namespace: number | undefined;
  try {
    namespace = open(`/proc/${child.pid}/ns/user`, O.RDONLY);
    writeFile(`/proc/${child.pid}/uid_map`, uids);
    writeFile(`/proc/${child.pid}/gid_map`, gids);
    return namespace;
  } catch (error) {
    if (namespace !== undefined) close(namespace);
    throw error;
  } finally {
    libc.kill(child.pid, SIGKILL);
    waitForChild(child.pid, WAIT_ALL);
    child.release();
  }
}
