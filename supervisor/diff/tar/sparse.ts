/** Sparse files: the old GNU format and the three of pax (0.0, 0.1 and 1.0). */

import type { Bytes } from "../../../shim/linux/index.ts";
import { ArchiveError, type Entry, type Segment } from "./entry.ts";
import { BLOCK, Flag, integer } from "./header.ts";
import { count, SPARSE_MAP } from "./pax.ts";

/** Parts that a sparse file may have here; the map of each file is held in memory. */
const MAX_SEGMENTS = 1 << 16;

/** Gives the next block of the archive: a buffer, and where in it the block begins. */
export type NextBlock = () => { buffer: Buffer; at: number };

/**
 * Fills in the parts of a sparse entry; does nothing for any other.
 * @param records those of the entry's extended header
 * @param nextBlock takes blocks that belong to the map and not to the content; the entry's `stored` is corrected here
 * for those that are counted among its content
 * @throws ArchiveError
 */
export function readSparse(
  entry: Entry,
  records: ReadonlyMap<Bytes, Bytes> | undefined,
  header: { buffer: Buffer; at: number },
  nextBlock: NextBlock,
): void {
  if (entry.flag === Flag.SPARSE) {
    entry.segments = oldMap(entry, header, nextBlock);
  } else if (records !== undefined && entry.type === "file") {
    const map = records.get(SPARSE_MAP);
    const isVersion1 = records.get("GNU.sparse.major") === "1" && records.get("GNU.sparse.minor") === "0";
    if (map === undefined && !isVersion1) return;
    const name = records.get("GNU.sparse.name");
    if (name !== undefined && name !== "") entry.name = name;
    const size = records.get("GNU.sparse.size") ?? records.get("GNU.sparse.realsize");
    if (size !== undefined) entry.size = count(size, "sparse size");
    entry.segments = isVersion1 ? leadingMap(entry, nextBlock) : pairs((map ?? "").split(","));
  }
  if (entry.segments !== undefined) checkSegments(entry, entry.segments);
}

/** Four parts in the header block, then 21 in each block that follows while the last says so. */
function oldMap(entry: Entry, header: { buffer: Buffer; at: number }, nextBlock: NextBlock): Segment[] {
  let { buffer, at } = header;
  entry.size = integer(buffer, at + 483, 12, "sparse size");
  const segments: Segment[] = [];
  let [from, parts, more] = [at + 386, 4, buffer[at + 482]];
  for (;;) {
    for (let i = 0; i < parts; i++, from += 24) {
      if (buffer[from] === 0) break;
      add(segments, integer(buffer, from, 12, "sparse offset"), integer(buffer, from + 12, 12, "sparse length"));
    }
    if (more === undefined || more === 0) return segments;
    ({ buffer, at } = nextBlock());
    [from, parts, more] = [at, 21, buffer[at + 504]];
  }
}

/** Decimal numbers, each on a line, in blocks before the content: how many parts, then offset and length of each. */
function leadingMap(entry: Entry, nextBlock: NextBlock): Segment[] {
  let text = "";
  const take = (): string => {
    for (;;) {
      const end = text.indexOf("\n");
      if (end >= 0) {
        const line = text.slice(0, end);
        text = text.slice(end + 1);
        return line;
      }
      if (text.length > 32) throw new ArchiveError("sparse map with a bad number");
      entry.stored -= BLOCK;
      if (entry.stored < 0) throw new ArchiveError("sparse map longer than its file");
      const { buffer, at } = nextBlock();
      text += buffer.toString("latin1", at, at + BLOCK);
    }
  };
  const segments: Segment[] = [];
  const number = count(take(), "sparse count");
  if (number > MAX_SEGMENTS) throw tooMany();
  for (let i = 0; i < number; i++) add(segments, count(take(), "sparse offset"), count(take(), "sparse length"));
  return segments;
}

function pairs(values: readonly string[]): Segment[] {
  const segments: Segment[] = [];
  if (values.length === 1 && values[0] === "") return segments;
  if (values.length % 2 !== 0) throw new ArchiveError("sparse map with an odd number of values");
  for (let i = 0; i < values.length; i += 2) {
    add(segments, count(values[i] ?? "", "sparse offset"), count(values[i + 1] ?? "", "sparse length"));
  }
  return segments;
}

function add(segments: Segment[], offset: number, length: number): void {
  if (segments.length >= MAX_SEGMENTS) throw tooMany();
  segments.push({ offset, length });
}

function tooMany(): ArchiveError {
  return new ArchiveError(`sparse file of more than ${MAX_SEGMENTS} parts`);
}

function checkSegments(entry: Entry, segments: readonly Segment[]): void {
  let end = 0;
  let stored = 0;
  for (const { offset, length } of segments) {
    if (offset < end || length < 0 || offset + length > entry.size) {
      throw new ArchiveError(`sparse map with a part out of place at ${offset}`);
    }
    end = offset + length;
    stored += length;
  }
  if (stored !== entry.stored) {
    throw new ArchiveError(`sparse map of ${stored} bytes for a content of ${entry.stored}`);
  }
}
