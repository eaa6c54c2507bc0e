/**
 * Readers of blobs: any number at once. Files stay open for a while after their last reader: clients read blobs in
 * thousands of small calls, each of which would open it anew.
 */

import type { FileHandle } from "node:fs/promises";
import { readFully } from "./disk.ts";

/** Files without a reader that are kept open, at most, and for how many milliseconds. */
const MAX_IDLE = 32;
const IDLE_MS = 2000;

/**
 * Reads up to this long are answered from a window of the file that is kept in memory: clients read blobs from beginning
 * to end in pieces of 32 KiB, and a read of the file for each would cost them a change of threads.
 */
const MAX_SMALL = 256 << 10;
const WINDOW = 1 << 20;

/** A part of a file that is in memory, or on its way there. */
interface Window {
  readonly start: number;
  readonly bytes: Promise<Uint8Array>;
}

/** The file of a blob. Its bytes never change; it stays readable when the blob is removed. */
interface OpenFile {
  readonly digest: string;
  readonly file: FileHandle;
  readonly size: number;
  window: Window | undefined;
  readers: number;
  /** False when it was removed or replaced meanwhile: the last reader closes it. */
  isCurrent: boolean;
}

/** A blob that is being read. */
export class BlobReader {
  /** Bytes. */
  readonly size: number;
  /** The file, for processes that read it themselves. */
  readonly path: string;
  readonly #opened: OpenFile;
  #release: (() => Promise<void>) | undefined;

  constructor(opened: OpenFile, path: string, release: () => Promise<void>) {
    this.#opened = opened;
    this.path = path;
    this.size = opened.size;
    this.#release = release;
  }

  /** Bytes from `offset` on: `length` of them, fewer at the end. */
  async read(offset: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(Math.max(0, Math.min(length, this.size - offset)));
    return bytes.subarray(0, await this.readInto(bytes, offset));
  }

  /** Fills `bytes` from `offset` on. @returns how many bytes were read: fewer only at the end */
  async readInto(bytes: Uint8Array, offset: number): Promise<number> {
    const start = offset - (offset % WINDOW);
    if (bytes.length > MAX_SMALL || offset + bytes.length > start + WINDOW) {
      return readFully(this.#opened.file, bytes, offset);
    }
    const part = (await this.#window(start)).subarray(offset - start, offset - start + bytes.length);
    bytes.set(part);
    return part.length;
  }

  async #window(start: number): Promise<Uint8Array> {
    const opened = this.#opened;
    if (opened.window?.start !== start) {
      const bytes = new Uint8Array(Math.max(0, Math.min(WINDOW, opened.size - start)));
      const window = { start, bytes: readFully(opened.file, bytes, start).then((length) => bytes.subarray(0, length)) };
      opened.window = window;
      window.bytes.catch(() => {
        if (opened.window === window) opened.window = undefined;
      });
    }
    return opened.window.bytes;
  }

  async close(): Promise<void> {
    const release = this.#release;
    this.#release = undefined;
    await release?.();
  }
}

/** The files that are open for reading. */
export class OpenFiles {
  readonly #open: (digest: string) => Promise<FileHandle | undefined>;
  readonly #files = new Map<string, OpenFile>();
  readonly #opening = new Map<string, Promise<OpenFile | undefined>>();
  /** Digests of files without a reader, with when their last one left; the longest idle first. */
  readonly #idle = new Map<string, number>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param open opens the file of a blob, if it is there */
  constructor(open: (digest: string) => Promise<FileHandle | undefined>) {
    this.#open = open;
  }

  /** A reader of a blob; undefined when its file is not there. */
  async reader(digest: string, path: string): Promise<BlobReader | undefined> {
    let opened = this.#files.get(digest);
    if (opened === undefined) {
      opened = await (this.#opening.get(digest) ?? this.#start(digest));
      if (opened === undefined) return undefined;
      // Meanwhile what was opened may have been forgotten, and closed.
      if (!opened.isCurrent) return this.reader(digest, path);
    }
    const mine = opened;
    mine.readers++;
    this.#idle.delete(digest);
    return new BlobReader(mine, path, () => this.#leave(mine));
  }

  /** Forgets the file of a blob that was removed or replaced. */
  forget(digest: string): void {
    this.#opening.delete(digest);
    const opened = this.#files.get(digest);
    if (opened === undefined) return;
    this.#files.delete(digest);
    this.#idle.delete(digest);
    opened.isCurrent = false;
    if (opened.readers === 0) void opened.file.close();
  }

  /** Closes what nobody reads. */
  close(): void {
    clearTimeout(this.#timer);
    for (const digest of [...this.#idle.keys()]) this.forget(digest);
  }

  #start(digest: string): Promise<OpenFile | undefined> {
    const opening = this.#open(digest).then(async (file) => {
      if (file === undefined) return undefined;
      const { size } = await file.stat();
      const isCurrent = this.#opening.get(digest) === opening;
      const opened: OpenFile = { digest, file, size, window: undefined, readers: 0, isCurrent };
      if (isCurrent) this.#files.set(digest, opened);
      else await file.close();
      return opened;
    });
    this.#opening.set(digest, opening);
    const end = (): void => {
      if (this.#opening.get(digest) === opening) this.#opening.delete(digest);
    };
    opening.then(end, end);
    return opening;
  }

  async #leave(opened: OpenFile): Promise<void> {
    if (--opened.readers > 0) return;
    if (!opened.isCurrent) {
      await opened.file.close();
      return;
    }
    this.#idle.set(opened.digest, performance.now());
    const [longest] = this.#idle.keys();
    if (this.#idle.size > MAX_IDLE && longest !== undefined) this.forget(longest);
    this.#watch();
  }

  /** Sees to it that idle files are closed in time; no timer runs while there are none. */
  #watch(): void {
    const [first] = this.#idle.values();
    if (this.#timer !== undefined || first === undefined) return;
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        const limit = performance.now() - IDLE_MS;
        for (const [digest, since] of [...this.#idle]) {
          if (since <= limit) this.forget(digest);
        }
        this.#watch();
      },
      Math.max(1, first + IDLE_MS - performance.now()),
    );
    this.#timer.unref();
  }
}
