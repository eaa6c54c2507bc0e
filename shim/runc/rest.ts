/**
 * What runc leaves behind, and `runc delete --force` with it, which ends with 0 all the same: runc 1.1 binds its own
 * executable over a file of the container's directory for a moment, in the host's mount namespace (nsexec's try_bindfd).
 * Killed in that moment it leaves the mount, so the directory cannot be removed, and no container can have its id again.
 */

import { exists, listDirectory, removeDirectory, removeFile } from "../linux/file.ts";
import { unmountRecursive } from "../linux/mount.ts";

/**
 * Removes what is left of the directory that runc kept of a container which is deleted.
 * @param root runc's `--root`
 * @throws ErrnoError
 */
export function removeRest(root: string, id: string): void {
  const directory = `${root}/${id}`;
  if (!exists(directory)) return;
  unmountRecursive(directory);
  for (const name of listDirectory(directory)) removeFile(`${directory}/${name}`);
  removeDirectory(directory);
}
