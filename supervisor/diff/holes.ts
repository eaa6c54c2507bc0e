/** Files with holes, written as sparse entries (GNU's format 1.0 in pax), so that a hole costs nothing. */

import { type Bytes, nextData, nextHole } from "../../shim/linux/index.ts";
import type { Segment } from "./tar/entry.ts";
import { BLOCK } from "./tar/header.ts";

/** Below this much of holes a file is written whole, as containerd does: equal files give equal layers. */
const MIN_HOLES = 16 << 20;
const MAX_SEGMENTS = 1 << 12;

/** What is written of a file in place of its whole content. */
export interface Sparse {
  readonly segments: readonly Segment[];
  /** The list of the segments, padded to whole blocks: it comes before them. */
  readonly map: Buffer;
  /** Bytes of the map and the segments. */
  readonly size: number;
  /** Records of the extended header. */
  readonly records: ReadonlyMap<Bytes, Bytes>;
}

/**
 * The sparse form of an open file.
 * @param allocated bytes that the file has on disk
 * @returns undefined for a file that has no holes worth it
 */
export function sparseOf(fd: number, path: Bytes, size: number, allocated: number): Sparse | undefined {
  if (size - allocated < MIN_HOLES) return undefined;
  const segments: Segment[] = [];
  for (let at = nextData(fd, 0); at !== undefined && at < size; ) {
    const end = Math.min(size, nextHole(fd, at));
    segments.push({ offset: at, length: end - at });
    if (segments.length > MAX_SEGMENTS) return undefined;
    at = nextData(fd, end);
  }
  const stored = segments.reduce((sum, { length }) => sum + length, 0);
  if (size - stored < MIN_HOLES) return undefined;
  const numbers = [segments.length, ...segments.flatMap(({ offset, length }) => [offset, length])];
  const text = Buffer.from(`${numbers.join("\n")}\n`, "latin1");
  const map = Buffer.concat([text, Buffer.alloc((BLOCK - (text.length % BLOCK)) % BLOCK)]);
  const records = new Map([
    ["GNU.sparse.major", "1"],
    ["GNU.sparse.minor", "0"],
    ["GNU.sparse.name", path],
    ["GNU.sparse.realsize", String(size)],
  ]);
  return { segments, map, size: map.length + stored, records };
}
