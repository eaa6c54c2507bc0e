/** One daemon for one root and one state: the second is refused, however the first ended. */

import { closeSync, ftruncateSync, mkdirSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { tryLockFile } from "../../shim/linux/index.ts";

/** The file in root and state whose lock says that a daemon has them. It holds the pid, for people only. */
export const lockName = "berthd.lock";

/**
 * Milliseconds to wait for a lock whose holder has ended. A child that the holder was just starting has a copy of all its
 * descriptors until it runs its program, and with them the lock.
 */
const LET_GO_MS = 2_000;

/** Somebody else has the directory. */
export class LockedError extends Error {
  override readonly name = "LockedError";
}

/** A directory that is ours until this ends, or our process. */
export interface DirectoryLock {
  release(): void;
}

/**
 * Takes a directory that exists.
 * @param flag by which another directory is chosen, for the message: `--root`
 * @throws LockedError when another process has it; ErrnoError when the file cannot be made
 */
export function lockDirectory(directory: string, flag: string): DirectoryLock {
  const path = join(directory, lockName);
  const until = performance.now() + LET_GO_MS;
  let fd = tryLockFile(path, 0o600);
  // Nothing is served yet that a pause could hold up.
  while (fd === undefined && performance.now() < until && !isRunning(holderOf(path))) {
    Bun.sleepSync(5);
    fd = tryLockFile(path, 0o600);
  }
  if (fd === undefined) {
    const pid = holderOf(path);
    throw new LockedError(
      `another berthd${pid ? ` (pid ${pid})` : ""} is using ${directory}: stop it first, or choose another ${flag}`,
    );
  }
  try {
    ftruncateSync(fd, 0);
    writeSync(fd, `${process.pid}\n`, 0);
  } catch {
    // A full disk must not keep the daemon from starting: the lock holds without the pid.
  }
  return { release: () => closeSync(fd) };
}

function holderOf(path: string): string | undefined {
  try {
    return /^\d+$/.exec(readFileSync(path, "utf8").trim())?.[0];
  } catch {
    return undefined;
  }
}

/** False when the process is known to have ended, even if nobody has asked how. */
function isRunning(pid: string | undefined): boolean {
  if (pid === undefined) return true;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat[stat.lastIndexOf(")") + 2] !== "Z";
  } catch {
    return false;
  }
}

/** Makes root and state and takes them for this process. @throws LockedError */
export function takePlaces(config: { readonly root: string; readonly state: string }): DirectoryLock[] {
  const locks: DirectoryLock[] = [];
  try {
    for (const flag of ["root", "state"] as const) {
      if (flag === "state" && config.state === config.root) continue;
      mkdirSync(config[flag], { recursive: true, mode: 0o711 });
      locks.push(lockDirectory(config[flag], `--${flag}`));
    }
    return locks;
  } catch (error) {
    for (const lock of locks) lock.release();
    throw error;
  }
}
