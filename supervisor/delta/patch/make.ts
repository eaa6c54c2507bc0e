/**
 * Makes a patch. Both sides are cut into chunks by their content; those of the new one that are among the old ones'
 * are copied, together with all equal bytes before and after them. What is left goes as literals, packed with the old
 * bytes beside it as a dictionary. Memory: the table of chunks, some blocks of either side, and one frame.
 */

import { Cached, equalAfter, equalBefore } from "./cache.ts";
import { cut, type RandomBytes } from "./chunker.ts";
import { FrameWriter } from "./frames.ts";
import { ChunkTable } from "./table.ts";

/** After bytes that differ, so far ahead it is looked for where the same place goes on to be equal, for so long. */
const RESYNC = { within: 4096, equal: 32 };

/** So many bytes that are equal where they are expected are copied. */
const LEAST_EQUAL = 64;

/** What came of it. */
export interface MadePatch {
  /** Belongs in front of what was written. */
  readonly header: Buffer;
  /** Bytes of the new side that are copied, and that are literals. */
  readonly copied: number;
  readonly literals: number;
}

/** Writes the frames of the patch that leads from `old` to `fresh`. */
export function makePatch(
  old: RandomBytes,
  fresh: RandomBytes,
  write: (bytes: Uint8Array) => void,
  table = new ChunkTable(old),
): MadePatch {
  const matcher = new Matcher(new Cached(old), new Cached(fresh), table, write);
  cut(fresh, table.mask, (offset, chunk) => matcher.chunk(offset, chunk));
  const header = matcher.end();
  return { header, ...matcher.totals };
}

class Matcher {
  readonly #old: Cached;
  readonly #fresh: Cached;
  readonly #table: ChunkTable;
  readonly #frames: FrameWriter;
  /** All new bytes before this are in the patch. */
  #done = 0;
  /** Where the old bytes go on behind the last copy. */
  #oldEnd = 0;

  constructor(old: Cached, fresh: Cached, table: ChunkTable, write: (bytes: Uint8Array) => void) {
    this.#old = old;
    this.#fresh = fresh;
    this.#table = table;
    this.#frames = new FrameWriter(old, fresh, write);
  }

  get totals(): { readonly copied: number; readonly literals: number } {
    return this.#frames.totals;
  }

  chunk(offset: number, chunk: Buffer): void {
    if (offset + chunk.length <= this.#done) return;
    const skipped = Math.max(0, this.#done - offset);
    const [start, bytes] = [offset + skipped, chunk.subarray(skipped)];
    // Where it would be had nothing been added or removed since the last copy: that keeps the order of reading.
    const expected = this.#oldEnd + (start - this.#done);
    const equal = expected > this.#old.size ? 0 : this.#equal(start, expected - start);
    if (equal >= Math.min(LEAST_EQUAL, bytes.length)) this.#match(start, expected, equal);
    else if (skipped === 0) {
      const found = this.#table.find(chunk);
      if (found !== undefined && this.#isThere(found, chunk)) this.#match(offset, found, chunk.length);
    }
  }

  end(): Buffer {
    this.#literal(this.#fresh.size, undefined);
    return this.#frames.end();
  }

  #isThere(offset: number, bytes: Buffer): boolean {
    if (offset < 0 || offset + bytes.length > this.#old.size) return false;
    for (let done = 0; done < bytes.length; ) {
      const part = this.#old.view(offset + done, bytes.length - done);
      if (!part.equals(bytes.subarray(done, done + part.length))) return false;
      done += part.length;
    }
    return true;
  }

  #match(start: number, oldStart: number, length: number): void {
    const most = Math.min(start - this.#done, oldStart);
    const before = equalBefore(this.#fresh, start, this.#old, oldStart, most);
    this.#literal(start - before, oldStart - before);
    let [from, to] = [start - before, start + length];
    const shift = oldStart - start;
    for (;;) {
      to += this.#equal(to, shift);
      this.#frames.copy(from + shift, to - from);
      this.#done = to;
      this.#oldEnd = to + shift;
      const next = this.#resync(to, shift);
      if (next === undefined) return;
      this.#literal(next, next + shift);
      from = to = next;
    }
  }

  /** How many bytes from `at` on are equal, at the same distance. */
  #equal(at: number, shift: number): number {
    const most = Math.min(this.#fresh.size - at, this.#old.size - at - shift);
    return equalAfter(this.#fresh, at, this.#old, at + shift, Math.max(0, most));
  }

  /** Where, soon after `at`, the same distance is right again. */
  #resync(at: number, shift: number): number | undefined {
    const most = Math.min(RESYNC.within, this.#fresh.size - at, this.#old.size - at - shift);
    if (most < RESYNC.equal) return undefined;
    const [fresh, old] = [Buffer.allocUnsafe(most), Buffer.allocUnsafe(most)];
    this.#fresh.read(at, fresh);
    this.#old.read(at + shift, old);
    for (let i = 0, run = 0; i < most; i++) {
      run = fresh[i] === old[i] ? run + 1 : 0;
      if (run === RESYNC.equal) return at + i + 1 - RESYNC.equal;
    }
    return undefined;
  }

  /** Literals up to `end`; the old bytes go on at `oldNext` then, if that is known. */
  #literal(end: number, oldNext: number | undefined): void {
    const length = end - this.#done;
    if (length > 0) {
      const gap = oldNext === undefined ? 0 : oldNext - this.#oldEnd;
      // What was removed is most like what has come; without a clear place, what would have been there.
      const room = gap > 0 && gap < 16 * length ? gap : length;
      this.#frames.literal(this.#done, length, this.#oldEnd, room);
    }
    this.#done = end;
    if (oldNext !== undefined) this.#oldEnd = oldNext;
  }
}
