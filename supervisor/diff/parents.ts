/** Directories that a layer needs and does not bring. */

import {
  attributeNamesOfFile,
  attributeOfFile,
  type Bytes,
  close,
  ErrnoError,
  makeDirectoryAt,
  O,
  openWithin,
  readSymlink,
  S,
  type Status,
  setAttribute,
  setMode,
  setOwner,
  show,
  statusOfFile,
  statusOfPath,
} from "../../shim/linux/index.ts";

/** Links followed in one path, as in the kernel. */
const MAX_LINKS = 40;
/** Parts of a path with those of the links in it: each costs a look from the root on. */
const MAX_PARTS = 4096;
const ENOTDIR = 20;
const ELOOP = 40;

/**
 * Makes a directory, and those above it, as far as they are missing. Symbolic links are followed within the root, also
 * to what is not there yet. A directory that a layer below has gets that one's owner, mode and attributes, since an
 * overlay shows those of the uppermost.
 * @param lowers open directories of the layers below, the uppermost first
 * @param onMade told of each directory made, with the status of the one below, if there is one
 * @throws ErrnoError ENOTDIR when something else is in the way
 */
export function ensureDirectory(
  path: Bytes,
  lowers: readonly number[],
  onMade: (path: Bytes, lower: Status | undefined) => void,
): void {
  const left = path.split("/").reverse();
  const resolved: Bytes[] = [];
  let parts = 0;
  for (let links = 0; left.length > 0; ) {
    if (++parts > MAX_PARTS) throw new ErrnoError(ELOOP, "mkdir", show(path));
    const part = left.pop() ?? "";
    if (part === "" || part === ".") continue;
    if (part === "..") {
      resolved.pop();
      continue;
    }
    const here = [...resolved, part].join("/");
    const status = statusOfPath(here);
    const type = status === undefined ? undefined : status.mode & S.IFMT;
    if (type === S.IFLNK) {
      if (++links > MAX_LINKS) throw new ErrnoError(ELOOP, "mkdir", show(path));
      const target = readSymlink(here);
      if (target.startsWith("/")) resolved.length = 0;
      left.push(...target.split("/").reverse());
      continue;
    }
    if (type === undefined) onMade(here, make(here, lowers));
    else if (type !== S.IFDIR) throw new ErrnoError(ENOTDIR, "mkdir", show(here));
    resolved.push(part);
  }
}

function make(path: Bytes, lowers: readonly number[]): Status | undefined {
  makeDirectoryAt(path, 0o755);
  // The mode of a new directory is cut by an inherited access control list.
  setMode(path, 0o755);
  for (const lower of lowers) {
    const found = within(lower, path, O.PATH, statusOfFile);
    if (found === undefined) continue;
    // Something else was in its place in that layer: what is further below does not show.
    if ((found.mode & S.IFMT) !== S.IFDIR) return undefined;
    within(lower, path, O.RDONLY | O.DIRECTORY, (fd) => copyStatus(fd, found, path));
    return found;
  }
  return undefined;
}

function within<R>(directory: number, path: Bytes, flags: number, action: (fd: number) => R): R | undefined {
  const fd = openWithin(directory, path, flags);
  if (fd === undefined) return undefined;
  try {
    return action(fd);
  } finally {
    close(fd);
  }
}

function copyStatus(from: number, status: Status, to: Bytes): void {
  setOwner(to, status.uid, status.gid);
  for (const name of attributeNamesOfFile(from)) {
    // Marks of overlayfs, and what else is not a layer's to set.
    if (name.startsWith("trusted.")) continue;
    const value = attributeOfFile(from, name);
    if (value !== undefined) setAttribute(to, name, value);
  }
  setMode(to, status.mode & 0o7777);
}
