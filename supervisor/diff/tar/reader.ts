/** Reads tar archives, entry after entry, out of one buffer: nothing of a content is copied but by the kernel. */

import type { Bytes } from "../../../shim/linux/index.ts";
import { ArchiveError, type Entry } from "./entry.ts";
import { BLOCK, Flag, isZeroBlock, parseHeader } from "./header.ts";
import { mergeRecords, parseRecords } from "./pax.ts";
import { readSparse } from "./sparse.ts";

/** Reads at most `to - from` bytes into the buffer from `from` on; 0 is the end. */
export type Read = (buffer: Buffer, from: number, to: number) => number;

/** Takes bytes of a content: those of the buffer from `from` to `to`, which are overwritten after it returns. */
export type Sink = (buffer: Buffer, from: number, to: number) => void;

/** Longest extended header or long name, as in Go's reader: they are held in memory. */
const MAX_SPECIAL = 1 << 20;
/** Fits the second-level cache of a processor, together with what the decompressor needs. */
const BUFFER_BYTES = 256 << 10;

/**
 * The reader of one archive. Use: `next` until it gives undefined, `content` at most once for each entry, `drain`.
 * Global extended headers come as entries of type "global", whose records are not applied: containerd ignores them too.
 */
export class TarReader {
  readonly #read: Read;
  readonly #buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  #at = 0;
  #end = 0;
  /** Of the present entry's content, and its padding, what has not been taken. */
  #content = 0;
  #padding = 0;

  constructor(read: Read) {
    this.#read = read;
  }

  /**
   * The next entry, undefined at the end of the archive.
   * @throws ArchiveError for an archive that ends in the middle, or is none
   */
  next(): Entry | undefined {
    this.#skip(this.#content);
    // Some programs leave out the padding of the last file.
    const isWhole = this.#ensure(this.#padding);
    this.#at = isWhole ? this.#at + this.#padding : this.#end;
    this.#content = this.#padding = 0;
    let records: Map<Bytes, Bytes> | undefined;
    let [longName, longTarget]: (Bytes | undefined)[] = [];
    for (;;) {
      if (!this.#ensure(BLOCK)) {
        if (this.#end > this.#at) throw new ArchiveError("archive ends within a header");
        if (records ?? longName ?? longTarget) throw new ArchiveError("archive ends after an extended header");
        return undefined;
      }
      if (isZeroBlock(this.#buffer, this.#at)) return this.#trailer();
      const entry = parseHeader(this.#buffer, this.#at);
      const header = { buffer: this.#buffer, at: this.#at };
      if (entry.flag === Flag.PAX) {
        records = parseRecords(this.#special(entry.size));
      } else if (entry.flag === Flag.LONG_NAME) {
        longName = upToNul(this.#special(entry.size));
      } else if (entry.flag === Flag.LONG_TARGET) {
        longTarget = upToNul(this.#special(entry.size));
      } else if (entry.flag === Flag.GLOBAL) {
        parseRecords(this.#special(entry.size));
        return entry;
      } else {
        if (records !== undefined) mergeRecords(entry, records);
        if (longName !== undefined) entry.name = longName;
        if (longTarget !== undefined) entry.target = longTarget;
        if (entry.flag === 0 && entry.name.endsWith("/")) entry.type = "directory";
        // Only these have a content; what the size of any other says is not in the archive.
        if (entry.type !== "file" && entry.type !== "unknown") entry.size = entry.stored = 0;
        // The map of an old sparse file is in the header: it must be read before the block is left.
        let left = false;
        const leave = (): void => {
          if (!left) this.#at += BLOCK;
          left = true;
        };
        readSparse(entry, records, header, () => {
          leave();
          if (!this.#ensure(BLOCK)) throw new ArchiveError("archive ends within a sparse map");
          const at = this.#at;
          this.#at += BLOCK;
          return { buffer: this.#buffer, at };
        });
        leave();
        this.#content = entry.stored;
        this.#padding = paddingOf(entry.stored);
        return entry;
      }
    }
  }

  /** Gives the content of the present entry to `sink`, part by part. @throws ArchiveError when the archive ends in it */
  content(sink: Sink): void {
    while (this.#content > 0) {
      this.#contentPart(this.#content, sink);
    }
  }

  /** Like {@link content}, but only the next `length` bytes of it. */
  contentPart(length: number, sink: Sink): void {
    for (let left = length; left > 0; ) left -= this.#contentPart(left, sink);
  }

  /** Reads what follows the archive, up to the end of the stream. */
  drain(): void {
    this.#at = this.#end = 0;
    while (this.#read(this.#buffer, 0, BUFFER_BYTES) > 0);
  }

  #contentPart(limit: number, sink: Sink): number {
    if (this.#at === this.#end && !this.#ensure(1)) throw new ArchiveError("archive ends within a file");
    const length = Math.min(limit, this.#content, this.#end - this.#at);
    if (length === 0) throw new ArchiveError("content shorter than its map");
    sink(this.#buffer, this.#at, this.#at + length);
    this.#at += length;
    this.#content -= length;
    return length;
  }

  /** The end of an archive is two blocks of zeros; a program that finds one and then something else is being fooled. */
  #trailer(): undefined {
    this.#at += BLOCK;
    if (!this.#ensure(BLOCK)) {
      if (this.#end > this.#at) throw new ArchiveError("archive ends within a header");
      return undefined;
    }
    if (!isZeroBlock(this.#buffer, this.#at)) throw new ArchiveError("entry after a block of zeros");
    return undefined;
  }

  /** Takes the header of an extension and its content. */
  #special(size: number): Bytes {
    if (size > MAX_SPECIAL) throw new ArchiveError(`extended header of ${size} bytes, the limit is ${MAX_SPECIAL}`);
    this.#at += BLOCK;
    const parts: Bytes[] = [];
    for (let left = size; left > 0; ) {
      if (this.#at === this.#end && !this.#ensure(1)) throw new ArchiveError("archive ends within an extended header");
      const length = Math.min(left, this.#end - this.#at);
      parts.push(this.#buffer.toString("latin1", this.#at, this.#at + length));
      this.#at += length;
      left -= length;
    }
    this.#skip(paddingOf(size));
    return parts.join("");
  }

  #skip(length: number): void {
    for (let left = length; left > 0; ) {
      if (this.#at === this.#end && !this.#ensure(1)) throw new ArchiveError("archive ends within a file");
      const step = Math.min(left, this.#end - this.#at);
      this.#at += step;
      left -= step;
    }
  }

  /** Makes `length` bytes available in one piece; false when the stream ends before. */
  #ensure(length: number): boolean {
    const have = this.#end - this.#at;
    if (have >= length) return true;
    if (have > 0) this.#buffer.copyWithin(0, this.#at, this.#end);
    this.#at = 0;
    this.#end = have;
    while (this.#end < length) {
      const count = this.#read(this.#buffer, this.#end, BUFFER_BYTES);
      if (count === 0) return false;
      this.#end += count;
    }
    return true;
  }
}

function paddingOf(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}

function upToNul(bytes: Bytes): Bytes {
  const nul = bytes.indexOf("\0");
  return nul < 0 ? bytes : bytes.slice(0, nul);
}
