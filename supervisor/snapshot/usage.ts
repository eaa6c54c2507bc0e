/** What a directory takes on disk. */

import type { Stats } from "node:fs";
import { lstat, readdir } from "node:fs/promises";
import type { Usage } from "./snapshotter.ts";
import { usageOfTree } from "./tree/process.ts";

/** The unit of `blocks`, whatever the file system's own is. */
const BLOCK_BYTES = 512;
/** Longer paths, and names that are not text, are left to a process that can name them. */
const MAX_PATH = 3500;
/** Files looked at together: enough to keep the threads busy, little enough that the event loop breathes. */
const BATCH = 256;

/**
 * Counts blocks and inodes below a directory, and its own, a file with several names once, as containerd counts. What
 * disappears meanwhile is not counted.
 * @throws Error when the directory cannot be read; the signal's reason when it is aborted
 */
export async function diskUsage(directory: string, signal?: AbortSignal): Promise<Usage> {
  let [size, inodes] = [0, 0];
  const linked = new Set<string>();
  const count = (stat: Stats): void => {
    if (stat.nlink > 1 && !stat.isDirectory()) {
      const id = `${stat.dev}:${stat.ino}`;
      if (linked.has(id)) return;
      linked.add(id);
    }
    size += stat.blocks * BLOCK_BYTES;
    inodes++;
  };
  count(await lstat(directory));
  const directories = [directory];
  for (let next = directories.pop(); next !== undefined; next = directories.pop()) {
    signal?.throwIfAborted();
    const parent = next;
    const entries = await readdir(parent, { withFileTypes: true }).catch(nothingWhenGone);
    if (parent.length > MAX_PATH || entries.some(({ name }) => name.includes("\ufffd"))) {
      return usageOfTree(directory, signal);
    }
    for (let at = 0; at < entries.length; at += BATCH) {
      const batch = entries.slice(at, at + BATCH);
      const stats = await Promise.all(batch.map(({ name }) => lstat(`${parent}/${name}`).catch(nothingWhenGone)));
      for (const stat of stats) if (!Array.isArray(stat)) count(stat);
    }
    for (const entry of entries) if (entry.isDirectory()) directories.push(`${parent}/${entry.name}`);
  }
  return { size, inodes };
}

function nothingWhenGone(error: NodeJS.ErrnoException): never[] {
  if (error.code === "ENOENT" || error.code === "ENOTDIR") return [];
  throw error;
}
