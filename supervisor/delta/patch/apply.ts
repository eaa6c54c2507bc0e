/** Applies a patch. It may be hostile: every number is checked, and memory is bounded whatever it says. */

import { constants, zstdDecompressSync } from "node:zlib";
import type { Base } from "./base.ts";
import { PatchError } from "./error.ts";
import {
  carried,
  DICTIONARY_START,
  FRAME_BYTES,
  HEADER_BYTES,
  MAGIC,
  MAX_DICTIONARY,
  MAX_LITERALS,
  MAX_OPERATIONS,
  PACKED_SLACK,
  type PatchHeader,
  PIECE,
} from "./layout.ts";
import { NumberReader } from "./varint.ts";

/** Gives exactly so many bytes of the patch. @throws PatchError when there are not so many */
export type ReadPatch = (length: number) => Buffer;

/** The header of a patch. @throws PatchError when it is none */
export function readHeader(read: ReadPatch): PatchHeader {
  const header = read(HEADER_BYTES);
  if (!header.subarray(0, MAGIC.length).equals(MAGIC)) throw new PatchError("this is no patch of berth");
  const [newSize, oldSize, reach] = [0, 1, 2].map((index) => {
    const value = header.readBigUInt64LE(MAGIC.length + index * 8);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new PatchError("the patch has a number that is too large");
    return Number(value);
  });
  return { newSize: newSize ?? 0, oldSize: oldSize ?? 0, reach: reach ?? 0 };
}

/**
 * Writes the new bytes.
 * @param header of the patch, which was read
 * @param write takes them; they are valid during the call
 * @throws PatchError
 */
export function applyPatch(header: PatchHeader, read: ReadPatch, base: Base, write: (bytes: Buffer) => void): void {
  if (base.size !== header.oldSize) {
    throw new PatchError(`the patch is for old layers with ${header.oldSize} bytes, these have ${base.size}`);
  }
  const piece = Buffer.allocUnsafeSlow(PIECE);
  let left = header.newSize;
  let copyEnd = 0;
  let placeEnd = 0;
  let before: Buffer = Buffer.alloc(0);
  const take = (length: number): void => {
    if (length > left) throw new PatchError(`the patch makes more than the ${header.newSize} bytes it is for`);
    left -= length;
  };
  for (;;) {
    const frame = readFrame(read);
    if (frame === undefined) break;
    const numbers = new NumberReader(frame.operations);
    const dictionary = [DICTIONARY_START, before];
    let room = MAX_DICTIONARY;
    for (let places = numbers.next(); places > 0; places--) {
      const offset = placeEnd + numbers.nextSigned();
      const length = numbers.next();
      if (length > room) throw new PatchError("the patch has a dictionary that is too long");
      room -= length;
      const bytes = Buffer.allocUnsafe(length);
      base.read(offset, bytes);
      dictionary.push(bytes);
      placeEnd = offset + length;
    }
    const literals = frame.unpack(dictionary);
    let literalAt = 0;
    while (!numbers.isAtEnd) {
      const kind = numbers.next();
      const length = Math.floor(kind / 2);
      take(length);
      if (kind % 2 === 0) {
        if (length > literals.length - literalAt) throw new PatchError("the patch has fewer literals than it takes");
        write(literals.subarray(literalAt, literalAt + length));
        literalAt += length;
        continue;
      }
      const offset = copyEnd + numbers.nextSigned();
      for (let done = 0; done < length; ) {
        const part = piece.subarray(0, Math.min(PIECE, length - done));
        base.read(offset + done, part);
        write(part);
        done += part.length;
      }
      copyEnd = offset + length;
    }
    if (literalAt !== literals.length) throw new PatchError("the patch has more literals than it takes");
    before = carried(before, literals);
  }
  if (left > 0) throw new PatchError(`the patch makes ${header.newSize - left} of ${header.newSize} bytes`);
}

interface Frame {
  readonly operations: Buffer;
  readonly unpack: (dictionary: readonly Buffer[]) => Buffer;
}

function readFrame(read: ReadPatch): Frame | undefined {
  const sizes = read(FRAME_BYTES);
  const [operations = 0, packedOperations = 0, literals = 0, packedLiterals = 0] = [0, 4, 8, 12].map((at) =>
    sizes.readUInt32LE(at),
  );
  if (operations === 0 && packedOperations === 0 && literals === 0 && packedLiterals === 0) return undefined;
  if (operations > MAX_OPERATIONS || packedOperations > operations + PACKED_SLACK) throw tooLong("operations");
  if (literals > MAX_LITERALS || packedLiterals > literals + PACKED_SLACK) throw tooLong("literals");
  const unpacked = unpack(Buffer.from(read(packedOperations)), operations, []);
  const packed = Buffer.from(read(packedLiterals));
  return {
    operations: unpacked,
    unpack: (dictionary) => (literals === 0 ? Buffer.alloc(0) : unpack(packed, literals, dictionary)),
  };
}

function tooLong(what: string): PatchError {
  return new PatchError(`the patch has a frame with too many ${what}`);
}

function unpack(packed: Buffer, length: number, dictionary: readonly Buffer[]): Buffer {
  const words = Buffer.concat(dictionary);
  let bytes: Buffer;
  try {
    bytes = zstdDecompressSync(packed, {
      maxOutputLength: length,
      params: { [constants.ZSTD_d_windowLogMax]: 24 },
      ...(words.length > 0 ? { dictionary: words } : {}),
    });
  } catch (error) {
    throw new PatchError(`a frame of the patch cannot be unpacked: ${(error as Error).message}`);
  }
  if (bytes.length !== length) throw new PatchError(`a frame of the patch has ${bytes.length} of ${length} bytes`);
  return bytes;
}
