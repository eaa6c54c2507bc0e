/** One thing in a tar archive. */

import type { Bytes, Time } from "../../../shim/linux/index.ts";

/** What an entry is; "unknown" is any type flag that nobody has defined. */
export type EntryType =
  | "file"
  | "link"
  | "symlink"
  | "character"
  | "block"
  | "directory"
  | "fifo"
  | "global"
  | "unknown";

/** A run of bytes of a sparse file that the archive holds; the rest are zeros. */
export interface Segment {
  readonly offset: number;
  readonly length: number;
}

/** An entry with all its extensions merged. */
export interface Entry {
  type: EntryType;
  /** The type flag as it stands in the header. */
  flag: number;
  /** The name as it stands in the archive: it may be absolute, and may hold "..". Never a NUL. */
  name: Bytes;
  /** Target of a link. */
  target: Bytes;
  /** Permission bits and set-id bits. */
  mode: number;
  uid: number;
  gid: number;
  /** Length of the file; of a sparse file with its holes. */
  size: number;
  /** Bytes of it that the archive holds. */
  stored: number;
  /** The parts of a sparse file, in ascending order; undefined for any other. */
  segments: readonly Segment[] | undefined;
  modified: Time;
  accessed: Time | undefined;
  major: number;
  minor: number;
  /** Extended attributes by name. */
  attributes: ReadonlyMap<Bytes, Bytes>;
}

/** An archive that is not as it must be; the text says what is wrong and where. */
export class ArchiveError extends Error {
  override readonly name = "ArchiveError";
}
