/** The database of a daemon that may or may not run. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { type DirectoryLock, LockedError, lockDirectory } from "../host/lock.ts";

/** A database, and the right to it. */
export interface ClaimedDatabase {
  readonly path: string;
  /** Keeps daemons from starting until it is released; undefined when one runs, which is to be asked instead. */
  readonly lock: DirectoryLock | undefined;
}

/**
 * Claims the database of a root.
 * @throws Error when there is none; NodeJS.ErrnoException when it cannot be locked
 */
export function claimDatabase(root: string): ClaimedDatabase {
  const path = join(root, "berth.db");
  if (!existsSync(path)) throw new Error(`there is no database ${path}: no daemon has run with this root`);
  try {
    return { path, lock: lockDirectory(root, "--root") };
  } catch (error) {
    if (error instanceof LockedError) return { path, lock: undefined };
    throw error;
  }
}
