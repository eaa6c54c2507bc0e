/**
 * Writes tar archives, byte for byte as Go's archive/tar does: ustar headers, with an extended header (pax) before those
 * that need one. So a layer made here has the digest that containerd's has.
 */

import type { Bytes } from "../../../shim/linux/index.ts";
import { BLOCK } from "./header.ts";

/** Takes bytes of an archive: those of the buffer from `from` to `to`, which are overwritten after it returns. */
export type Output = (buffer: Buffer, from: number, to: number) => void;

/** One header to write. */
export interface HeaderFields {
  /** One character: "0" file, "1" link, "2" symlink, "3" character device, "4" block device, "5" directory, "6" FIFO. */
  readonly type: string;
  readonly name: Bytes;
  readonly target?: Bytes;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of content that follow. */
  readonly size: number;
  /** Whole seconds since the epoch. */
  readonly modified: number;
  readonly major?: number;
  readonly minor?: number;
  /** Further records of an extended header, by key. */
  readonly records?: ReadonlyMap<Bytes, Bytes>;
}

const NAME = 100;
const PREFIX = 155;
const zeros = Buffer.alloc(2 * BLOCK);

/** Writes one archive. */
export class TarWriter {
  readonly #output: Output;
  readonly #block = Buffer.alloc(2 * BLOCK);

  constructor(output: Output) {
    this.#output = output;
  }

  /** Writes a header; the caller then writes the content, and calls {@link pad}. */
  header(fields: HeaderFields): void {
    const records = extended(fields);
    // A long name goes into the two fields of ustar if it can, and nothing else needs an extended header.
    const parts = records.size === 1 && records.has("path") ? splitName(fields.name) : undefined;
    if (parts !== undefined) records.clear();
    if (records.size > 0) this.#extended(fields.name, records);
    this.#ustar(fields, parts);
  }

  /** Writes content of the present entry. */
  content(buffer: Buffer, from: number, to: number): void {
    this.#output(buffer, from, to);
  }

  /** Fills the last block of a content of this many bytes. */
  pad(size: number): void {
    const rest = size % BLOCK;
    if (rest > 0) this.#output(zeros, 0, BLOCK - rest);
  }

  /** Ends the archive. */
  end(): void {
    this.#output(zeros, 0, 2 * BLOCK);
  }

  #ustar(fields: HeaderFields, parts: { prefix: Bytes; name: Bytes } | undefined): void {
    const block = this.#block.fill(0);
    putText(block, parts?.name ?? ascii(fields.name), 0, NAME);
    putNumber(block, fields.mode, 100, 8);
    putNumber(block, fields.uid, 108, 8);
    putNumber(block, fields.gid, 116, 8);
    putNumber(block, fields.size, 124, 12);
    putNumber(block, fields.modified, 136, 12);
    block.write(fields.type, 156, "latin1");
    putText(block, ascii(fields.target ?? ""), 157, NAME);
    putNumber(block, fields.major ?? 0, 329, 8);
    putNumber(block, fields.minor ?? 0, 337, 8);
    if (parts !== undefined) putText(block, parts.prefix, 345, PREFIX);
    this.#finish(block);
  }

  #extended(name: Bytes, records: ReadonlyMap<Bytes, Bytes>): void {
    const data = Buffer.from(
      [...records.keys()]
        .sort()
        .map((key) => record(key, records.get(key) ?? ""))
        .join(""),
      "latin1",
    );
    const slash = name.lastIndexOf("/") + 1;
    const shown = ascii(cleanJoin(name.slice(0, slash), name.slice(slash)))
      .slice(0, NAME)
      .replace(/\/+$/, "");
    const block = this.#block.fill(0);
    putText(block, shown, 0, NAME);
    for (const [at, length] of [
      [100, 8],
      [108, 8],
      [116, 8],
      [136, 12],
    ] as const) {
      putNumber(block, 0, at, length);
    }
    putNumber(block, data.length, 124, 12);
    block.write("x", 156, "latin1");
    this.#finish(block);
    this.#output(data, 0, data.length);
    this.pad(data.length);
  }

  #finish(block: Buffer): void {
    block.write("ustar\x0000", 257, "latin1");
    block.fill(0x20, 148, 156);
    let sum = 0;
    for (let i = 0; i < BLOCK; i++) sum += block[i] ?? 0;
    block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
    this.#output(block, 0, BLOCK);
  }
}

/** The records that a header needs because its fields cannot hold what they should. */
function extended(fields: HeaderFields): Map<Bytes, Bytes> {
  const records = new Map(fields.records);
  const text = (key: string, value: Bytes): void => {
    if (value.length > NAME || value !== ascii(value)) records.set(key, value);
  };
  const number = (key: string, value: number, length: number): void => {
    if (!fitsOctal(value, length)) records.set(key, String(value));
  };
  text("path", fields.name);
  text("linkpath", fields.target ?? "");
  number("uid", fields.uid, 8);
  number("gid", fields.gid, 8);
  number("size", fields.size, 12);
  number("mtime", fields.modified, 12);
  return records;
}

/** "LENGTH KEY=VALUE\n", the length counting itself. */
function record(key: Bytes, value: Bytes): Bytes {
  const rest = key.length + value.length + 3;
  let length = rest + String(rest).length;
  if (rest + String(length).length !== length) length = rest + String(length).length;
  return `${length} ${key}=${value}\n`;
}

function cleanJoin(directory: Bytes, file: Bytes): Bytes {
  const parts = `${directory}/PaxHeaders.0/${file}`.split("/").filter((part) => part !== "" && part !== ".");
  return parts.join("/");
}

function ascii(text: Bytes): Bytes {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters that are left
  return text.replace(/[^\x01-\x7f]/g, "");
}

function fitsOctal(value: number, length: number): boolean {
  return value >= 0 && value < 8 ** (length - 1);
}

function putText(block: Buffer, text: Bytes, at: number, length: number): void {
  block.write(text.slice(0, length), at, "latin1");
  // Some readers take a file whose cut name ends with a slash for a directory.
  if (text.length > length && block[at + length - 1] === 0x2f) {
    const end = text.slice(0, length - 1).replace(/\/+$/, "").length;
    block[at + end] = 0;
  }
}

function putNumber(block: Buffer, value: number, at: number, length: number): void {
  const fitting = fitsOctal(value, length) ? value : 0;
  block.write(fitting.toString(8).padStart(length - 1, "0"), at, "latin1");
}

/** A long name in the two fields of ustar, cut at a slash; undefined when it is not long, or cannot be cut. */
function splitName(name: Bytes): { prefix: Bytes; name: Bytes } | undefined {
  if (name.length <= NAME || name !== ascii(name)) return undefined;
  const length = name.length > PREFIX + 1 ? PREFIX + 1 : name.endsWith("/") ? name.length - 1 : name.length;
  const slash = name.slice(0, length).lastIndexOf("/");
  const rest = name.length - slash - 1;
  if (slash <= 0 || rest > NAME || rest === 0 || slash > PREFIX) return undefined;
  return { prefix: name.slice(0, slash), name: name.slice(slash + 1) };
}
