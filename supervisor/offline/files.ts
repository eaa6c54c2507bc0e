/** What is in a watched directory: archives and lists. A directory of a stick is anybody's: only plain files count. */

import { constants, realpathSync } from "node:fs";
import { type FileHandle, open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { invalidArgument } from "../../proto/errdefs.ts";

/** Files of one directory that are looked at, at most. */
const MAX_FILES = 1000;
/** Bytes at either end of a file that tell it from others of its name, size and time. */
const SAMPLE = 64 << 10;
const MAX_LIST = 256 << 10;
const MAX_LINES = 1000;

const archive = /\.(?:tar|tar\.gz|tgz|tar\.zst|tar\.zstd)$/i;
const list = /\.txt$/i;
/** Names that programs give to what they have not written to its end. */
const unfinished = /^\.|\.(?:part|partial|tmp|crdownload|download|filepart|swp)$|~$/i;

/** A file of interest. */
export interface WatchedPath {
  readonly path: string;
  readonly kind: "archive" | "list";
}

/** The archives and lists in a directory, by name; none where it cannot be read. */
export async function filesIn(directory: string): Promise<WatchedPath[]> {
  let names: string[];
  try {
    const entries = await readdir(directory, { withFileTypes: true });
    // FIFOs, devices and directories are nothing; links are looked at when they are opened.
    names = entries.filter((entry) => entry.isFile() || entry.isSymbolicLink()).map(({ name }) => name);
  } catch {
    return [];
  }
  const found: WatchedPath[] = [];
  for (const name of names.sort().slice(0, MAX_FILES)) {
    if (unfinished.test(name)) continue;
    if (archive.test(name)) found.push({ path: join(directory, name), kind: "archive" });
    else if (list.test(name)) found.push({ path: join(directory, name), kind: "list" });
  }
  return found;
}

/**
 * Opens a file, and nothing else.
 * @throws ContainerdError InvalidArgument for what is no file, and for links that lead out of the directory
 */
export async function openPlain(path: string): Promise<FileHandle> {
  const directory = realpathSync(join(path, ".."));
  const real = realpathSync(path);
  if (!real.startsWith(`${directory}/`)) throw invalidArgument(`it is a link that leads out of ${directory}`);
  // Should it have become a FIFO meanwhile, opening does not wait for its other end.
  const file = await open(real, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    if ((await file.stat()).isFile()) return file;
    throw invalidArgument("it is no plain file");
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** What tells a file from every other, also after a reboot and on another mount: name, size, time, and samples. */
export async function fingerprint(file: FileHandle, name: string): Promise<string> {
  const { size, mtimeNs } = await file.stat({ bigint: true });
  const hash = new Bun.CryptoHasher("sha256").update(`${name}\0${size}\0${mtimeNs}\0`);
  for (const position of [0, Math.max(0, Number(size) - SAMPLE)]) {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(SAMPLE), 0, SAMPLE, position);
    hash.update(buffer.subarray(0, bytesRead));
  }
  return hash.digest("hex");
}

/** What changes whenever a file is written to; undefined when it is gone. */
export async function signature(
  path: string,
): Promise<{ readonly text: string; readonly mtimeMs: number } | undefined> {
  try {
    const file = await openPlain(path);
    try {
      const { ino, size, mtimeNs } = await file.stat({ bigint: true });
      return { text: `${ino}:${size}:${mtimeNs}`, mtimeMs: Number(mtimeNs / 1_000_000n) };
    } finally {
      await file.close();
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    return { text: `unreadable: ${(error as Error).message}`, mtimeMs: 0 };
  }
}

/** The references of a list: one a line, `#` begins a comment. @throws ContainerdError for one that is too long */
export async function readList(path: string): Promise<string[]> {
  const file = await openPlain(path);
  try {
    const { size } = await file.stat();
    if (size > MAX_LIST) throw invalidArgument(`a list may have ${MAX_LIST} bytes, this one has ${size}`);
    const lines = (await file.readFile("utf8")).split("\n").map((line) => line.replace(/#.*/, "").trim());
    const references = lines.filter((line) => line !== "");
    if (references.length > MAX_LINES) throw invalidArgument(`a list may name ${MAX_LINES} images`);
    return references;
  } finally {
    await file.close();
  }
}

/** The bytes of a file. Closes it. */
export async function* bytesOf(file: FileHandle): AsyncGenerator<Uint8Array> {
  try {
    for (let position = 0; ; ) {
      const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(1 << 20), 0, 1 << 20, position);
      if (bytesRead === 0) return;
      position += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}
