/** Writes the frames of a patch. */

import { constants, zstdCompressSync } from "node:zlib";
import type { Cached } from "./cache.ts";
import { carried, DICTIONARY_START, FRAME_BYTES, HEADER_BYTES, MAGIC, type PatchHeader } from "./layout.ts";
import { NumberWriter } from "./varint.ts";

/** Bytes after which a frame ends: literals, dictionary, operations, and new bytes while it has literals. */
const END = { literals: 1 << 20, dictionary: 2 << 20, operations: 256 << 10, span: 8 << 20 };
/** Literals shorter than this get no place in the dictionary: naming it would cost more. */
const LEAST_CONTEXT = 64;
/** Beside the bytes that a literal stands for, so many are in the dictionary. */
const CONTEXT_MARGIN = 4096;
/** zstd's levels: the best, until so many bytes were packed that time matters more. */
const LEVEL = { best: 16, bestUpTo: 32 << 20, later: 6 };

/** Packs bytes by zstd. */
export function pack(bytes: Uint8Array, dictionary: Buffer, level: number): Buffer {
  const options = {
    params: { [constants.ZSTD_c_compressionLevel]: level },
    ...(dictionary.length > 0 ? { dictionary } : {}),
  };
  return zstdCompressSync(bytes, options);
}

/** Collects copies and literals into frames. */
export class FrameWriter {
  readonly #old: Cached;
  readonly #fresh: Cached;
  readonly #write: (bytes: Uint8Array) => void;
  readonly #pieces = new NumberWriter();
  readonly #places: { offset: number; length: number }[] = [];
  #literals: Buffer[] = [];
  #literalBytes = 0;
  #dictionaryBytes = 0;
  /** New bytes of this frame. */
  #span = 0;
  #carried: Buffer = Buffer.alloc(0);
  /** Ends of the last copy and of the last place, which the next are counted from. */
  #copyEnd = 0;
  #placeEnd = 0;
  /** Copies of this frame, which are read after its dictionary. */
  #copies: { offset: number; length: number }[] = [];
  #furthest = 0;
  #reach = 0;
  #packed = 0;
  #totals = { copied: 0, literals: 0 };

  constructor(old: Cached, fresh: Cached, write: (bytes: Uint8Array) => void) {
    this.#old = old;
    this.#fresh = fresh;
    this.#write = write;
  }

  /** Bytes so far, by where they came from. */
  get totals(): { readonly copied: number; readonly literals: number } {
    return this.#totals;
  }

  /** New bytes that are old ones. */
  copy(offset: number, length: number): void {
    this.#totals.copied += length;
    let [from, left] = [offset, length];
    // A dictionary is read before the copies of its frame: the further these go, the further back is the next one.
    if (this.#literalBytes > 0 && this.#span + left > END.span) {
      const part = Math.max(0, END.span - this.#span);
      if (part > 0) this.#copy(from, part);
      from += part;
      left -= part;
      this.#flush();
    }
    this.#copy(from, left);
  }

  #copy(offset: number, length: number): void {
    this.#pieces.put(length * 2 + 1);
    this.#pieces.putSigned(offset - this.#copyEnd);
    this.#copyEnd = offset + length;
    this.#copies.push({ offset, length });
    this.#span += length;
    if (this.#pieces.length >= END.operations) this.#flush();
  }

  /**
   * New bytes that are not among the old ones, or were not found there.
   * @param near where among the old ones that may be which they took the place of
   * @param room how many those are
   */
  literal(offset: number, length: number, near: number, room: number): void {
    this.#totals.literals += length;
    for (let done = 0; done < length; ) {
      if (this.#span >= END.span) this.#flush();
      const part = Math.min(length - done, END.literals - this.#literalBytes);
      const bytes = Buffer.allocUnsafe(part);
      this.#fresh.read(offset + done, bytes);
      this.#pieces.put(part * 2);
      this.#literals.push(bytes);
      this.#literalBytes += part;
      this.#span += part;
      if (part >= LEAST_CONTEXT) this.#context(near + done, Math.min(room - done, part + CONTEXT_MARGIN));
      done += part;
      const isFull = this.#literalBytes >= END.literals || this.#dictionaryBytes >= END.dictionary;
      if (isFull || this.#pieces.length >= END.operations) this.#flush();
    }
  }

  #context(offset: number, room: number): void {
    const length = Math.min(room, this.#old.size - offset, END.dictionary - this.#dictionaryBytes);
    if (length < LEAST_CONTEXT) return;
    this.#places.push({ offset, length });
    this.#dictionaryBytes += length;
  }

  /** Ends the patch. @returns its header, which goes in front of everything */
  end(): Buffer {
    this.#flush();
    this.#write(Buffer.alloc(FRAME_BYTES));
    return headerOf({ newSize: this.#fresh.size, oldSize: this.#old.size, reach: this.#reach });
  }

  #flush(): void {
    if (this.#span === 0) return;
    const head = new NumberWriter();
    head.put(this.#places.length);
    const dictionary = [DICTIONARY_START, this.#carried];
    for (const { offset, length } of this.#places) {
      head.putSigned(offset - this.#placeEnd);
      head.put(length);
      this.#placeEnd = offset + length;
      const bytes = Buffer.allocUnsafe(length);
      this.#old.read(offset, bytes);
      dictionary.push(bytes);
      this.#noteRead(offset, length);
    }
    for (const { offset, length } of this.#copies) this.#noteRead(offset, length);
    const operations = Buffer.concat([head.take(), this.#pieces.take()]);
    const literals = Buffer.concat(this.#literals);
    const level = this.#packed < LEVEL.bestUpTo ? LEVEL.best : LEVEL.later;
    const packedOperations = pack(operations, Buffer.alloc(0), LEVEL.later);
    const packedLiterals = literals.length === 0 ? literals : pack(literals, Buffer.concat(dictionary), level);
    this.#packed += literals.length;
    const sizes = Buffer.alloc(FRAME_BYTES);
    const parts = [operations, packedOperations, literals, packedLiterals];
    for (const [index, { length }] of parts.entries()) sizes.writeUInt32LE(length, index * 4);
    this.#write(Buffer.concat([sizes, packedOperations, packedLiterals]));
    this.#carried = carried(this.#carried, literals);
    this.#places.length = 0;
    this.#copies = [];
    this.#literals = [];
    this.#literalBytes = this.#dictionaryBytes = this.#span = 0;
  }

  #noteRead(offset: number, length: number): void {
    this.#reach = Math.max(this.#reach, this.#furthest - offset);
    this.#furthest = Math.max(this.#furthest, offset + length);
  }
}

function headerOf({ newSize, oldSize, reach }: PatchHeader): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  MAGIC.copy(header);
  for (const [index, value] of [newSize, oldSize, reach].entries()) {
    header.writeBigUInt64LE(BigInt(value), MAGIC.length + index * 8);
  }
  return header;
}
