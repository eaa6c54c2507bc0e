/**
 * Network namespaces of containers, each mounted at a path of ours: so it outlives the container's processes until its
 * interfaces and rules are released. The bridge plugin up to 1.2 leaves its masquerading rules when it is gone.
 */

import { closeSync, existsSync, mkdirSync, openSync, rmdirSync, rmSync, statfsSync } from "node:fs";
import { dirname } from "node:path";
import { detach, isErrno, mountAll } from "../../shim/linux/index.ts";

/**
 * Mounts the network namespace of a process.
 * @returns the path, or the process's own where nothing can be mounted
 */
export function pinNetns(pid: number, path: string): string {
  const source = `/proc/${pid}/ns/net`;
  unpinNetns(path);
  mkdirSync(dirname(path), { recursive: true, mode: 0o711 });
  closeSync(openSync(path, "w", 0o600));
  try {
    mountAll([{ type: "bind", source, target: "", options: ["bind"] }], path);
    return path;
  } catch {
    rmSync(path, { force: true });
    return source;
  }
}

/** Takes the mount away; the namespace ends with the last that uses it. */
export function unpinNetns(path: string): void {
  if (!existsSync(path)) return;
  try {
    detach(path);
  } catch (error) {
    // Not a mount point: a reboot has taken the mount and left the file.
    if (!isErrno(error, "EINVAL") && !isErrno(error, "ENOENT")) throw error;
  }
  rmSync(path, { force: true });
  try {
    rmdirSync(dirname(path));
  } catch {
    // others of the namespace are there
  }
}

/** The type of the file system that namespaces are files of (magic.h, NSFS_MAGIC). */
const NSFS = 0x6e736673;

/** True when the path is a namespace: mounted there, or of a process that is there. */
export function isPinned(path: string): boolean {
  try {
    return statfsSync(path).type === NSFS;
  } catch {
    return false;
  }
}
