/** Logs of containers that were rotated: the ones that nobody writes to any more. */

import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";

/** A file of a log. */
export interface LogFile {
  readonly path: string;
  /** Room that it takes. */
  readonly bytes: number;
  /** When it was written to last, in milliseconds since 1970. */
  readonly writtenAt: number;
  /** True for one that the shim has put aside. */
  readonly isRotated: boolean;
}

/** `<directory>/<namespace>/<id>/<file>` */
const DEPTH = 3;
/** Files that are looked at: more are not there, or not ours. */
const MAX_FILES = 100_000;
/** Names that the shim gives by rotation. */
const rotated = /\.log\.\d+(?:\.gz)?$/;

/** Files of logs below a directory, the oldest first. What cannot be read is left out. */
export async function logFiles(directory: string): Promise<LogFile[]> {
  const found: LogFile[] = [];
  const walk = async (path: string, depth: number): Promise<void> => {
    for (const entry of await readdir(path, { withFileTypes: true }).catch(() => [])) {
      if (found.length >= MAX_FILES) return;
      const inner = join(path, entry.name);
      if (entry.isDirectory() && depth < DEPTH) await walk(inner, depth + 1);
      if (!entry.isFile() || !/\.log(?:\.|$)/.test(entry.name)) continue;
      const status = await lstat(inner).catch(() => undefined);
      if (status === undefined) continue;
      const isRotated = rotated.test(entry.name);
      found.push({ path: inner, bytes: status.blocks * 512, writtenAt: status.mtimeMs, isRotated });
    }
  };
  await walk(directory, 1);
  return found.sort((a, b) => a.writtenAt - b.writtenAt);
}
