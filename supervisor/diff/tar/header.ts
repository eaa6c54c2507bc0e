/** The 512-byte header block of a tar entry: V7, ustar, star and GNU. */

import { ArchiveError, type Entry, type EntryType } from "./entry.ts";

/** Size of a block; headers are one, contents are padded to a multiple of it. */
export const BLOCK = 512;

/** Type flags that are not entries of their own but describe the next one. */
export const Flag = { PAX: 0x78, GLOBAL: 0x67, LONG_NAME: 0x4c, LONG_TARGET: 0x4b, SPARSE: 0x53 } as const;

const types = new Map<number, EntryType>([
  [0, "file"],
  [0x30, "file"],
  [0x31, "link"],
  [0x32, "symlink"],
  [0x33, "character"],
  [0x34, "block"],
  [0x35, "directory"],
  [0x36, "fifo"],
  [0x37, "file"],
  [Flag.SPARSE, "file"],
  [Flag.GLOBAL, "global"],
]);

const noAttributes: Entry["attributes"] = new Map();

/** True when the block at `at` is all zeros: archives end with two such blocks. */
export function isZeroBlock(buffer: Buffer, at: number): boolean {
  for (let i = at; i < at + BLOCK; i += 4) if (buffer.readUInt32LE(i) !== 0) return false;
  return true;
}

/**
 * The header block at `at`.
 * @throws ArchiveError for a wrong checksum, or a number that is none
 */
export function parseHeader(buffer: Buffer, at: number): Entry {
  checkSum(buffer, at);
  const flag = buffer[at + 156] ?? 0;
  const magic = buffer.toString("latin1", at + 257, at + 265);
  const isUstar = magic.startsWith("ustar\0");
  let name = text(buffer, at, 100);
  if (isUstar) {
    const isStar = buffer.toString("latin1", at + 508, at + 512) === "tar\0";
    const prefix = text(buffer, at + 345, isStar ? 131 : 155);
    if (prefix !== "") name = `${prefix}/${name}`;
  }
  const hasDevice = isUstar || magic === "ustar  \0";
  const size = integer(buffer, at + 124, 12, "size");
  if (size < 0) throw new ArchiveError(`entry with the negative size ${size}`);
  return {
    type: types.get(flag) ?? "unknown",
    flag,
    name,
    target: text(buffer, at + 157, 100),
    mode: integer(buffer, at + 100, 8, "mode") & 0o7777,
    uid: integer(buffer, at + 108, 8, "uid"),
    gid: integer(buffer, at + 116, 8, "gid"),
    size,
    stored: size,
    segments: undefined,
    modified: { seconds: integer(buffer, at + 136, 12, "mtime"), nanoseconds: 0 },
    accessed: undefined,
    major: hasDevice ? integer(buffer, at + 329, 8, "device number") : 0,
    minor: hasDevice ? integer(buffer, at + 337, 8, "device number") : 0,
    attributes: noAttributes,
  };
}

/** Both sums are in use: of unsigned bytes, as the standard has it, and of signed ones, as old programs wrote it. */
function checkSum(buffer: Buffer, at: number): void {
  const stated = integer(buffer, at + 148, 8, "checksum");
  let unsigned = 0;
  let high = 0;
  for (let i = at; i < at + BLOCK; i++) {
    const byte = i >= at + 148 && i < at + 156 ? 0x20 : (buffer[i] ?? 0);
    unsigned += byte;
    if (byte > 127) high++;
  }
  if (stated !== unsigned && stated !== unsigned - 256 * high) {
    throw new ArchiveError(`header with the checksum ${stated}, its bytes give ${unsigned}`);
  }
}

/** A text that ends at the first NUL, or fills its field. */
function text(buffer: Buffer, at: number, length: number): string {
  let end = at;
  while (end < at + length && buffer[end] !== 0) end++;
  return buffer.toString("latin1", at, end);
}

/**
 * A number: octal digits among spaces and NULs, or, with the highest bit set, binary in two's complement (GNU).
 * @throws ArchiveError when it is neither, or does not fit what JavaScript counts exactly
 */
export function integer(buffer: Buffer, at: number, length: number, what: string): number {
  const lead = buffer[at] ?? 0;
  if ((lead & 0x80) !== 0) return binary(buffer, at, length, what);
  let i = at;
  let end = at + length;
  while (i < end && isPadding(buffer[i])) i++;
  while (end > i && isPadding(buffer[end - 1])) end--;
  let value = 0;
  for (; i < end; i++) {
    const digit = (buffer[i] ?? 0) - 0x30;
    // What follows a NUL is not part of the text.
    if (digit === -0x30) break;
    if (digit < 0 || digit > 7) throw invalid(buffer, at, length, what);
    value = value * 8 + digit;
  }
  return value;
}

function isPadding(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0;
}

function binary(buffer: Buffer, at: number, length: number, what: string): number {
  const isNegative = ((buffer[at] ?? 0) & 0x40) !== 0;
  let value = 0n;
  for (let i = at; i < at + length; i++) {
    let byte = buffer[i] ?? 0;
    if (isNegative) byte ^= 0xff;
    if (i === at) byte &= 0x7f;
    value = (value << 8n) | BigInt(byte);
  }
  const number = Number(isNegative ? -value - 1n : value);
  if (!Number.isSafeInteger(number)) throw invalid(buffer, at, length, what);
  return number;
}

function invalid(buffer: Buffer, at: number, length: number, what: string): ArchiveError {
  return new ArchiveError(`header with the ${what} ${JSON.stringify(buffer.toString("latin1", at, at + length))}`);
}
