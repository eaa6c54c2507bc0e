/** Tar archives as streams: headers one by one, each with its bytes. Archives may be hostile; limits are checked. */

import { ContainerdError } from "../../../proto/errdefs.ts";
import { Code } from "../../../proto/ttrpc/status.ts";
import { type ByteSource, UnexpectedEnd } from "./source.ts";

/** An entry of an archive that is read. Its bytes are gone when the next one is asked for. */
export interface TarEntry {
  /** As it stands there: it may be absolute or lead outside. */
  readonly name: string;
  readonly type: "file" | "directory" | "symlink" | "other";
  readonly linkName: string;
  /** Bytes. */
  readonly size: number;
  /** The bytes of the entry. */
  readonly body: AsyncIterable<Uint8Array>;
}

const BLOCK = 512;
/** Longest extended header. */
const MAX_EXTENSION = 1 << 20;
/** Longest name. */
const MAX_NAME = 4096;
/** Most entries. */
const MAX_ENTRIES = 200_000;

function broken(why: string): ContainerdError {
  return new ContainerdError(Code.Unknown, `archive/tar: invalid tar header${why === "" ? "" : `: ${why}`}`);
}

const latin1 = new TextDecoder("latin1");
const utf8 = new TextDecoder();

function textOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return utf8.decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/** A number: octal digits, or with the first bit set the number itself. */
function numberOf(bytes: Uint8Array): number {
  const first = bytes[0] ?? 0;
  if (first & 0x80) {
    if (first !== 0x80) throw broken("negative or too large number");
    let value = 0;
    for (const byte of bytes.subarray(1)) value = value * 256 + byte;
    if (!Number.isSafeInteger(value)) throw broken("number too large");
    return value;
  }
  const text = latin1
    .decode(bytes)
    .replace(/[\0 ]+$/, "")
    .replace(/^[\0 ]+/, "");
  if (!/^[0-7]*$/.test(text)) throw broken("");
  return text === "" ? 0 : Number.parseInt(text, 8);
}

function checkSum(block: Uint8Array): void {
  let sum = 8 * 0x20;
  for (let i = 0; i < BLOCK; i++) if (i < 148 || i >= 156) sum += block[i] ?? 0;
  if (sum !== numberOf(block.subarray(148, 156))) throw broken("");
}

/** Records of a pax header: `LENGTH KEY=VALUE\n`. */
function parsePax(bytes: Uint8Array): Map<string, string> {
  const records = new Map<string, string>();
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(0x20, at);
    const digits = space < 0 ? "" : latin1.decode(bytes.subarray(at, space));
    const length = /^\d{1,8}$/.test(digits) ? Number(digits) : 0;
    const end = at + length;
    if (length === 0 || end > bytes.length || bytes[end - 1] !== 0x0a) throw broken("bad extended header");
    const record = utf8.decode(bytes.subarray(space + 1, end - 1));
    const equals = record.indexOf("=");
    if (equals <= 0) throw broken("bad extended header");
    records.set(record.slice(0, equals), record.slice(equals + 1));
    at = end;
  }
  return records;
}

const types: Readonly<Record<string, TarEntry["type"]>> = {
  "0": "file",
  "\0": "file",
  "7": "file",
  "2": "symlink",
  "5": "directory",
};

/** The entries of an archive. @throws ContainerdError for what is no archive, is cut short, or goes over a limit */
export async function* readTar(source: ByteSource): AsyncGenerator<TarEntry> {
  let count = 0;
  let longName: string | undefined;
  let longLink: string | undefined;
  let pax: Map<string, string> | undefined;
  for (;;) {
    const block = await source.read(BLOCK);
    // One block of zeros would do for the end; files without any are accepted too, as everywhere.
    if (block === undefined || block.every((byte) => byte === 0)) return;
    checkSum(block);
    if (++count > MAX_ENTRIES)
      throw new ContainerdError(Code.ResourceExhausted, `the archive has more than ${MAX_ENTRIES} entries`);
    const flag = String.fromCharCode(block[156] ?? 0);
    const given = numberOf(block.subarray(124, 136));
    if ("xgLK".includes(flag)) {
      if (given > MAX_EXTENSION)
        throw new ContainerdError(Code.ResourceExhausted, "the archive has an extended header that is too long");
      const bytes = given === 0 ? new Uint8Array() : (await source.read(given))?.slice();
      if (bytes === undefined) throw new UnexpectedEnd();
      await source.skip(padding(given));
      if (flag === "x") pax = parsePax(bytes);
      else if (flag === "L") longName = textOf(bytes);
      else if (flag === "K") longLink = textOf(bytes);
      continue;
    }
    if (flag === "S" || pax?.has("GNU.sparse.major")) throw broken("sparse files are not supported");
    const isUstar = latin1.decode(block.subarray(257, 262)) === "ustar";
    const prefix = isUstar && block[263] === 0x30 ? textOf(block.subarray(345, 500)) : "";
    const short = textOf(block.subarray(0, 100));
    const name = pax?.get("path") ?? longName ?? (prefix === "" ? short : `${prefix}/${short}`);
    const linkName = pax?.get("linkpath") ?? longLink ?? textOf(block.subarray(157, 257));
    if (name.length > MAX_NAME || linkName.length > MAX_NAME) {
      throw new ContainerdError(Code.ResourceExhausted, `the archive has a name of more than ${MAX_NAME} characters`);
    }
    const paxSize = pax?.get("size");
    if (paxSize !== undefined && !/^\d{1,15}$/.test(paxSize)) throw broken("bad size");
    const type = name.endsWith("/") && types[flag] === "file" ? "directory" : (types[flag] ?? "other");
    // Links and directories have no bytes, whatever their size says; a hard link of pax may have some.
    const size = type === "symlink" || type === "directory" ? 0 : paxSize === undefined ? given : Number(paxSize);
    let left = size;
    const body = (async function* bytes(): AsyncGenerator<Uint8Array> {
      while (left > 0) {
        const part = await source.take(left);
        if (part === undefined) throw new UnexpectedEnd();
        left -= part.length;
        yield part;
      }
    })();
    longName = longLink = pax = undefined;
    yield { name, type, linkName, size, body };
    await source.skip(left + padding(size));
  }
}

/** Bytes from the end of a body to the next block. */
export function padding(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}

/** The two blocks at the end of an archive. */
export const TRAILER = new Uint8Array(2 * BLOCK);
/** Largest size that fits in octal digits. */
const MAX_OCTAL = 0o77777777777;

/**
 * The header of a file or, with a slash at the end of its name, a directory; owner root, time zero, so that equal input
 * gives equal archives (core/images/archive/exporter.go).
 * @param name at most 100 bytes
 */
export function tarHeader(name: string, mode: number, size: number): Uint8Array {
  if (Buffer.byteLength(name) > 100)
    throw new ContainerdError(Code.Internal, `name ${name} is too long for a tar header`);
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, length: number): void => {
    block.write(`${value.toString(8).padStart(length - 1, "0")}\0`, at, "latin1");
  };
  block.write(name, 0, "utf8");
  octal(mode, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  if (size <= MAX_OCTAL) {
    octal(size, 124, 12);
  } else {
    block[124] = 0x80;
    block.writeBigUInt64BE(BigInt(size), 128);
  }
  octal(0, 136, 12);
  block.write(name.endsWith("/") ? "5" : "0", 156, "latin1");
  if (size <= MAX_OCTAL) block.write("ustar\u000000", 257, "latin1");
  else block.write("ustar  \0", 257, "latin1");
  if (size <= MAX_OCTAL) {
    octal(0, 329, 8);
    octal(0, 337, 8);
  }
  let sum = 8 * 0x20;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}
