/**
 * The file of a patch: how a new sequence of bytes is made of an old one.
 *
 * It begins with {@link MAGIC} and three numbers of eight bytes (little endian): the length of the new bytes, that of the
 * old ones, and the reach: how far behind the furthest byte of the old ones that was read so far the patch may go back.
 * Frames follow. Each is four numbers of four bytes (operations: length, packed length; literals: the same), the packed
 * operations and the packed literals, both by zstd. A frame of four zeros is the last thing in the file.
 *
 * Operations are numbers (varint.ts). First the places in the old bytes that are the dictionary of the literals: how
 * many, and of each its offset (counted from the end of the one before, over all frames) and its length. In front of
 * those the dictionary has what the frames before had as literals, as far as {@link CARRIED}. Then pieces to the end of
 * the operations: twice the length, plus one for a copy, which is followed by the offset in the old bytes, counted from
 * the end of the copy before, over all frames. What is no copy is taken from the literals.
 */

export const MAGIC = Buffer.from("berth-patch-1\n", "latin1");
export const HEADER_BYTES = MAGIC.length + 24;
export const FRAME_BYTES = 16;

/** Longest parts of a frame, unpacked: what one frame costs in memory is bounded by them. */
export const MAX_OPERATIONS = 4 << 20;
export const MAX_LITERALS = 4 << 20;
export const MAX_DICTIONARY = 4 << 20;
/** What zstd may add to bytes that it cannot make shorter. */
export const PACKED_SLACK = 64 << 10;
/** Bytes of earlier literals that are in the dictionary. */
export const CARRIED = 256 << 10;
/** What every dictionary begins with, so that zstd takes none for one of its own format. */
export const DICTIONARY_START = Buffer.alloc(8);
/** Bytes that are copied at a time. */
export const PIECE = 64 << 10;

/** The beginning of a patch. All in bytes. */
export interface PatchHeader {
  readonly newSize: number;
  readonly oldSize: number;
  readonly reach: number;
}

/** The literals that the next frame's dictionary begins with. */
export function carried(before: Buffer, literals: Buffer): Buffer {
  if (literals.length >= CARRIED) return Buffer.from(literals.subarray(literals.length - CARRIED));
  return Buffer.concat([before.subarray(Math.max(0, before.length + literals.length - CARRIED)), literals]);
}
