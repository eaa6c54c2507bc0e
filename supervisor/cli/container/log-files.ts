/**
 * Reads the files of a log in the order in which they were written: `NAME.2`, `NAME.1`, `NAME`; and follows what is written,
 * over renames. A file is known by its inode: its name changes.
 */

import { closeSync, fstatSync, openSync, readdirSync, readSync, statSync, watch } from "node:fs";
import { basename, dirname } from "node:path";

const BLOCK = 64 << 10;
const NEWLINE = 10;
/** A line that is longer is given in pieces. */
const MAX_LINE = 1 << 20;

/** What is read. */
export interface ReadOptions {
  /** So many lines from the end; all unless told. */
  readonly tail?: number | undefined;
  /** Ends what is read, and what is waited for. */
  readonly signal: AbortSignal;
  /** Wait for more until this is aborted; what was written by then is still read. Undefined: do not wait. */
  readonly over?: AbortSignal | undefined;
}

/** Lines of a log, without their newlines. */
export async function* linesOf(path: string, { tail, signal, over }: ReadOptions): AsyncGenerator<string> {
  const change = watchDirectory(dirname(path), over === undefined ? undefined : AbortSignal.any([signal, over]));
  try {
    let files = openAll(path);
    let at = tail === undefined ? { index: 0, offset: 0 } : tailOf(files, tail);
    const lines = new LineCutter();
    for (;;) {
      let offset = 0;
      for (const [index, file] of files.entries()) {
        if (index >= at.index) offset = yield* readAll(file.fd, index === at.index ? at.offset : 0, lines, signal);
      }
      // The newest file: more may come, until it has another name and a new one is there.
      let last = files.pop();
      for (const { fd } of files) closeSync(fd);
      files = [];
      for (;;) {
        const seen = change.count;
        const isOver = over === undefined || over.aborted || signal.aborted;
        if (last !== undefined) offset = yield* readAll(last.fd, offset, lines, signal);
        const next = openAfter(path, last?.inode);
        if (next.length > 0) {
          // What came between the look and the rename.
          if (last !== undefined) {
            yield* readAll(last.fd, offset, lines, signal);
            closeSync(last.fd);
          }
          files = next;
          break;
        }
        if (isOver) {
          if (last !== undefined) closeSync(last.fd);
          last = undefined;
          yield* lines.rest();
          return;
        }
        await change.after(seen);
      }
      at = { index: 0, offset: 0 };
    }
  } finally {
    change.close();
  }
}

interface OpenFile {
  readonly fd: number;
  readonly inode: number;
}

/** Names of the log's files, oldest first. */
function namesOf(path: string): string[] {
  const name = basename(path);
  let all: string[];
  try {
    all = readdirSync(dirname(path));
  } catch {
    return [];
  }
  const numbers = all.flatMap((entry) => {
    const number = entry.startsWith(`${name}.`) ? entry.slice(name.length + 1) : "";
    return /^\d{1,6}$/.test(number) ? [Number(number)] : [];
  });
  const rotated = numbers.sort((a, b) => b - a).map((number) => `${path}.${number}`);
  return all.includes(name) ? [...rotated, path] : rotated;
}

function openAll(path: string): OpenFile[] {
  const files: OpenFile[] = [];
  for (const name of namesOf(path)) {
    try {
      const fd = openSync(name, "r");
      const inode = fstatSync(fd).ino;
      // A rename while we look shows one file under two names.
      if (files.some((file) => file.inode === inode)) closeSync(fd);
      else files.push({ fd, inode });
    } catch {
      // It was the oldest, and has gone.
    }
  }
  return files;
}

/** The files that were begun after the one with an inode; none while that is the newest. */
function openAfter(path: string, inode: number | undefined): OpenFile[] {
  try {
    if (statSync(path).ino === inode) return [];
  } catch {
    return [];
  }
  const files = openAll(path);
  const known = files.findIndex((file) => file.inode === inode);
  for (const { fd } of files.slice(0, known + 1)) closeSync(fd);
  return files.slice(known + 1);
}

/** Where the last `count` lines begin. */
function tailOf(files: readonly OpenFile[], count: number): { index: number; offset: number } {
  let left = count;
  for (let index = files.length - 1; index >= 0; index--) {
    const fd = files[index]?.fd ?? -1;
    const { size } = fstatSync(fd);
    if (left === 0) return { index, offset: size };
    const block = Buffer.alloc(BLOCK);
    for (let end = size; end > 0; ) {
      const begin = Math.max(0, end - BLOCK);
      const length = readSync(fd, block, 0, end - begin, begin);
      for (let at = length - 1; at >= 0; at--) {
        // The newline at the very end ends the last line, and begins none.
        if (block[at] !== NEWLINE || begin + at === size - 1) continue;
        if (--left === 0) return { index, offset: begin + at + 1 };
      }
      end = begin;
    }
    // The file's first line has no newline before it.
    if (size > 0 && --left === 0) return { index, offset: 0 };
  }
  return { index: 0, offset: 0 };
}

/** Gives the lines of a file from an offset to its end. @returns where that is */
async function* readAll(
  fd: number,
  from: number,
  lines: LineCutter,
  signal: AbortSignal,
): AsyncGenerator<string, number> {
  const block = Buffer.alloc(BLOCK);
  let offset = from;
  while (!signal.aborted) {
    const length = readSync(fd, block, 0, BLOCK, offset);
    if (length === 0) break;
    offset += length;
    yield* lines.take(block.subarray(0, length));
  }
  return offset;
}

/** Cuts bytes into lines. */
class LineCutter {
  #held: Buffer = Buffer.alloc(0);

  *take(bytes: Uint8Array): Generator<string> {
    let rest = Buffer.concat([this.#held, bytes]);
    for (let end = rest.indexOf(NEWLINE); end >= 0; end = rest.indexOf(NEWLINE)) {
      yield rest.toString("utf8", 0, end);
      rest = rest.subarray(end + 1);
    }
    if (rest.length > MAX_LINE) {
      yield rest.toString("utf8");
      rest = Buffer.alloc(0);
    }
    this.#held = Buffer.from(rest);
  }

  *rest(): Generator<string> {
    if (this.#held.length > 0) yield this.#held.toString("utf8");
    this.#held = Buffer.alloc(0);
  }
}

interface Changes {
  readonly count: number;
  /** Resolves when there were more than `seen` changes, or it is over. */
  after(seen: number): Promise<void>;
  close(): void;
}

/** Tells of changes in a directory. */
function watchDirectory(directory: string, signal: AbortSignal | undefined): Changes {
  let count = 0;
  let wake: (() => void) | undefined;
  const changed = (): void => {
    count++;
    wake?.();
  };
  let watcher: ReturnType<typeof watch> | undefined;
  if (signal !== undefined) {
    signal.addEventListener("abort", changed);
    try {
      watcher = watch(directory, changed);
      watcher.on("error", changed);
    } catch {
      // There is no such directory yet: nothing was written.
    }
  }
  return {
    get count() {
      return count;
    },
    async after(seen) {
      while (count === seen) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
    close() {
      watcher?.close();
      signal?.removeEventListener("abort", changed);
    },
  };
}
