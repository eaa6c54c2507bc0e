/** What a tree of files takes on disk, whatever the names and the depth: for the process that does nothing else. */

import { type Bytes, namesIn, S, statusOfPath } from "../../../shim/linux/index.ts";
import type { Usage } from "../snapshotter.ts";
import { reachable } from "./walk.ts";

/** Counts as `diskUsage` of ../usage.ts does. @throws ErrnoError */
export function treeUsage(root: Bytes): Usage {
  let [size, inodes] = [0, 0];
  const linked = new Set<string>();
  const directories: Bytes[] = [];
  const count = (path: Bytes): void => {
    const status = statusOfPath(path);
    if (status === undefined) return;
    const isDirectory = (status.mode & S.IFMT) === S.IFDIR;
    if (isDirectory) directories.push(path);
    else if (status.links > 1) {
      if (linked.has(status.identity)) return;
      linked.add(status.identity);
    }
    size += status.allocated;
    inodes++;
  };
  count(root);
  for (let next = directories.pop(); next !== undefined; next = directories.pop()) {
    const directory = reachable(next);
    for (const name of namesIn(directory)) count(`${directory}/${name}`);
  }
  return { size, inodes };
}
