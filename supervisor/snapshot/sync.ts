/** Bringing the files of a tree to disk. */

import { constants } from "node:fs";
import { open, readdir } from "node:fs/promises";
import { syncTree } from "./tree/process.ts";

/** A tree with more entries is synced as a whole, by a process: that costs 20 ms, and each file by itself about 1 ms. */
const MAX_ENTRIES = 16;

/** Syncs all files and directories of a tree. @throws Error when that failed: what was written may be lost */
export async function syncFiles(directory: string): Promise<void> {
  const found = await smallTree(directory);
  if (found === undefined) return syncTree(directory);
  for (const path of found) {
    const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
}

/** Paths of all files and directories, those in a directory before it; undefined when there are many. */
async function smallTree(root: string): Promise<string[] | undefined> {
  const paths: string[] = [];
  let entries = 0;
  for (const directories = [root]; directories.length > 0; ) {
    const directory = directories.pop() ?? "";
    paths.push(directory);
    for (const entry of await readdir(directory, { withFileTypes: true })) {
      // A name that is no text cannot be opened by it.
      if (++entries > MAX_ENTRIES || entry.name.includes("\ufffd")) return undefined;
      // Everything else is in its directory, and nowhere else.
      if (entry.isDirectory()) directories.push(`${directory}/${entry.name}`);
      else if (entry.isFile()) paths.push(`${directory}/${entry.name}`);
    }
  }
  return paths.reverse();
}
