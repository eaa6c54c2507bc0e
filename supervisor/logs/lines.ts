/** Lines of an open file, forwards and backwards, in bounded memory whatever the file holds. */

import type { FileHandle } from "node:fs/promises";
import { isPart, type LogEntry, type LogFormat, parseEntry } from "./entry.ts";

const BLOCK = 64 << 10;
/** A longer line is no entry that a shim writes; it is passed on in pieces as it is. */
const MAX_LINE = 1 << 20;
const NEWLINE = 10;
const NOTHING = new Uint8Array(0);

/** Reads entries from a place in a file on, and later what has been added. */
export class EntryReader {
  readonly #handle: FileHandle;
  readonly #format: LogFormat;
  #at: number;
  /** The beginning of a line whose end has not come. */
  #held: Uint8Array = NOTHING;
  /** Within a line that is too long. */
  #isLong = false;

  constructor(handle: FileHandle, format: LogFormat, at: number) {
    this.#handle = handle;
    this.#format = format;
    this.#at = at;
  }

  /** The next entries; undefined when the end of the file is reached for now. @throws Error of the file system */
  async next(): Promise<LogEntry[] | undefined> {
    const block = new Uint8Array(BLOCK);
    const { bytesRead } = await this.#handle.read(block, 0, BLOCK, this.#at);
    if (bytesRead === 0) return undefined;
    this.#at += bytesRead;
    const bytes = block.subarray(0, bytesRead);
    // Raw output need not come in lines: a prompt is shown at once.
    if (this.#format === "raw") return [parseEntry(bytes, "raw")];
    return this.#split(bytes);
  }

  /** What is left of a line that nothing ends. */
  rest(): LogEntry[] {
    const held = this.#held;
    this.#held = NOTHING;
    return held.length === 0 ? [] : [parseEntry(held, this.#isLong ? "raw" : this.#format)];
  }

  #split(bytes: Uint8Array): LogEntry[] {
    const entries: LogEntry[] = [];
    let from = 0;
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, from)) {
      const line = join(this.#held, bytes.subarray(from, end + 1));
      entries.push(parseEntry(line, this.#isLong ? "raw" : this.#format));
      this.#held = NOTHING;
      this.#isLong = false;
      from = end + 1;
    }
    this.#held = join(this.#held, bytes.subarray(from));
    if (this.#held.length > MAX_LINE) {
      this.#isLong = true;
      entries.push(...this.rest());
    }
    return entries;
  }
}

function join(first: Uint8Array, second: Uint8Array): Uint8Array {
  if (first.length === 0) return second;
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}

/** How far {@link findLast} has come. */
export interface Found {
  /** Lines that are still wanted from the files before. */
  readonly left: number;
  /** Where the first wanted one begins. */
  readonly at: number;
  /** All that is wanted was found; otherwise an older file may have the beginning. */
  readonly isWhole: boolean;
}

/**
 * Finds where the last lines of a file begin, reading from its end no more than it must. Parts of one line count as one.
 * @param size of the file, up to where it is looked at
 * @param wanted lines; those of newer files are taken off before
 * @param isNewest an unfinished line at the end counts as one
 */
export async function findLast(
  handle: FileHandle,
  format: LogFormat,
  size: number,
  wanted: number,
  isNewest: boolean,
): Promise<Found> {
  let left = wanted;
  let start = size;
  let isFirst = isNewest;
  for await (const { line, at } of linesBackwards(handle, size)) {
    const continues = line === undefined ? false : isPart(parseEntry(line, format));
    if (!continues || isFirst) {
      if (left === 0) return { left, at: start, isWhole: true };
      left--;
    }
    isFirst = false;
    start = at;
  }
  return { left, at: 0, isWhole: false };
}

/** Lines from the last to the first, with where they begin; those that are too long without their content. */
async function* linesBackwards(
  handle: FileHandle,
  size: number,
): AsyncGenerator<{ line: Uint8Array | undefined; at: number }> {
  let held = NOTHING as Uint8Array;
  let isLong = false;
  for (let end = size; end > 0; ) {
    const begin = Math.max(0, end - BLOCK);
    const block = new Uint8Array(end - begin);
    const { bytesRead } = await handle.read(block, 0, block.length, begin);
    if (bytesRead < block.length) return;
    let to = block.length;
    for (;;) {
      // The last byte of what is left is the end of its line, not of the one before.
      const last = held.length > 0 ? to - 1 : to - 2;
      const before = last < 0 ? -1 : block.lastIndexOf(NEWLINE, last);
      if (before < 0) break;
      yield { line: isLong ? undefined : join(block.subarray(before + 1, to), held), at: begin + before + 1 };
      held = NOTHING;
      isLong = false;
      to = before + 1;
    }
    held = join(block.subarray(0, to), held);
    if (held.length > MAX_LINE) {
      held = held.subarray(0, 1);
      isLong = true;
    }
    end = begin;
  }
  if (held.length > 0) yield { line: isLong ? undefined : held, at: 0 };
}
