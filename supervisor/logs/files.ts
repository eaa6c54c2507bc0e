/**
 * The files of one log: `NAME`, and before it `NAME.1`, `NAME.2` and so on. The shim renames them while we look: numbers
 * only grow, the oldest is renamed first, and a power cut may have left a gap.
 */

import { type FileHandle, open, readdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

/** An open file of a log. */
export interface LogPart {
  readonly handle: FileHandle;
  /** Device and inode: the same under each name. */
  readonly identity: string;
}

/** The names of a log's files that are there, by their numbers; 0 is the one that is written to. Newest first. */
export async function logNumbers(path: string): Promise<number[]> {
  const base = basename(path);
  const names = await readdir(dirname(path)).catch(() => []);
  return names
    .flatMap((name) => {
      if (name === base) return [0];
      const digits = name.startsWith(`${base}.`) ? name.slice(base.length + 1) : "";
      return /^[1-9]\d{0,3}$/.test(digits) ? [Number(digits)] : [];
    })
    .toSorted((a, b) => a - b);
}

/** The path of a log's file with this number. */
export const numbered = (path: string, number: number): string => (number === 0 ? path : `${path}.${number}`);

/** Opens all files of a log, oldest first. */
export async function openAll(path: string): Promise<LogPart[]> {
  // Upwards, because what is renamed meanwhile is met again and not missed.
  let highest = (await logNumbers(path)).at(-1) ?? -1;
  const parts: LogPart[] = [];
  let last: { readonly identity: string; readonly number: number } | undefined;
  for (let number = 0; number <= highest + 1; number++) {
    const part = await openPart(numbered(path, number));
    if (part === undefined) continue;
    if (last === undefined || (await identityOf(numbered(path, last.number))) === last.identity) {
      parts.push(part);
      last = { identity: part.identity, number };
      continue;
    }
    // (It is open: nothing else can have its inode.) The one before was renamed meanwhile: what stands here may be newer. We go on from where that one is now.
    await part.handle.close();
    const moved = await findAbove(path, last);
    // Removed, and all that is older with it.
    if (moved === undefined) break;
    highest += moved - last.number;
    last = { identity: last.identity, number: moved };
    number = moved;
  }
  return parts.toReversed();
}

/** Where a file is that was renamed since it had this number; undefined when it is gone. */
async function findAbove(
  path: string,
  { identity, number }: { readonly identity: string; readonly number: number },
): Promise<number | undefined> {
  for (let tries = 0; tries < 3; tries++) {
    const highest = (await logNumbers(path)).at(-1) ?? 0;
    // Upwards it is met, unless it has come beyond what the list had: then a new list has it.
    for (let at = number + 1; at <= highest + 2; at++) {
      if ((await identityOf(numbered(path, at))) === identity) return at;
    }
  }
  return undefined;
}

/** What comes after a file of a log. */
export interface Successor {
  readonly part: LogPart;
  /** The file itself is gone: others may have come and gone between the two. */
  readonly isGuess: boolean;
}

/** Opens the file that was begun when the given one was renamed; undefined while that is the newest. */
export async function openSuccessor(path: string, identity: string): Promise<Successor | undefined> {
  for (let tries = 0; tries < 100; tries++) {
    if ((await identityOf(path)) === identity) return undefined;
    const numbers = await logNumbers(path);
    const own = await numberOf(path, numbers, identity);
    const next = own === undefined ? numbers.at(-1) : numbers.filter((number) => number < own).at(-1);
    // It was renamed just now, and its successor is not made yet: that will be an event too.
    if (next === undefined) return undefined;
    const part = await openPart(numbered(path, next));
    if (part === undefined) continue;
    if (part.identity !== identity && (await isUnchanged(path, identity, own, next))) {
      return { part, isGuess: own === undefined };
    }
    await part.handle.close();
  }
  return undefined;
}

/** True when no rename can have come between looking and opening. */
async function isUnchanged(path: string, identity: string, own: number | undefined, next: number): Promise<boolean> {
  if (own === undefined) return (await identityOf(numbered(path, next + 1))) === undefined;
  if ((await identityOf(numbered(path, own))) !== identity) return false;
  for (let between = next + 1; between < own; between++) {
    if ((await identityOf(numbered(path, between))) !== undefined) return false;
  }
  return true;
}

async function numberOf(path: string, numbers: readonly number[], identity: string): Promise<number | undefined> {
  for (const number of numbers) {
    if ((await identityOf(numbered(path, number))) === identity) return number;
  }
  return undefined;
}

async function identityOf(path: string): Promise<string | undefined> {
  const found = await stat(path, { bigint: true }).catch(() => undefined);
  return found && `${found.dev}:${found.ino}`;
}

async function openPart(path: string): Promise<LogPart | undefined> {
  // A FIFO that lies there would stop us.
  if (!(await stat(path).catch(() => undefined))?.isFile()) return undefined;
  const handle = await open(path, "r").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (handle === undefined) return undefined;
  const { dev, ino } = await handle.stat({ bigint: true });
  return { handle, identity: `${dev}:${ino}` };
}

/** The directory of a log, or the nearest above it that is there. */
export async function nearestDirectory(path: string): Promise<string> {
  let directory = dirname(path);
  while (directory !== "/" && !(await stat(directory).catch(() => undefined))?.isDirectory()) {
    directory = join(directory, "..");
  }
  return directory;
}
