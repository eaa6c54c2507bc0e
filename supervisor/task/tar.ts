/** A directory of plain files as a tar archive, piece by piece. */

import { type FileHandle, open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";

const BLOCK = 512;
/** Bytes that are read at once. */
const PIECE = 1 << 20;
/** Longest name in a header. */
const MAX_NAME = 100;
/** Above this a size no longer fits eleven octal digits. */
const MAX_OCTAL = 8 ** 11 - 1;

/**
 * The archive of all directories and files below a directory; nothing else may be there.
 * @throws Error for what is neither, or a name that is too long
 */
export async function* tarOf(directory: string): AsyncIterable<Uint8Array> {
  yield* below(directory, "");
  yield new Uint8Array(2 * BLOCK);
}

async function* below(directory: string, prefix: string): AsyncIterable<Uint8Array> {
  const entries = await readdir(join(directory, prefix), { withFileTypes: true });
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    const name = `${prefix}${entry.name}`;
    const { mode, mtimeMs } = await stat(join(directory, name));
    if (entry.isDirectory()) {
      yield header(`${name}/`, "5", mode, 0, mtimeMs);
      yield* below(directory, `${name}/`);
    } else if (entry.isFile()) {
      const file = await open(join(directory, name));
      try {
        const { size } = await file.stat();
        yield header(name, "0", mode, size, mtimeMs);
        yield* contentOf(file, size, name);
      } finally {
        await file.close();
      }
    } else {
      throw new Error(`${join(directory, name)} is neither a file nor a directory`);
    }
  }
}

async function* contentOf(file: FileHandle, size: number, name: string): AsyncIterable<Uint8Array> {
  for (let at = 0; at < size; ) {
    const piece = new Uint8Array(Math.min(PIECE, size - at));
    const { bytesRead } = await file.read(piece, 0, piece.length, at);
    if (bytesRead === 0) throw new Error(`${name} became shorter while it was read`);
    at += bytesRead;
    yield piece.subarray(0, bytesRead);
  }
  if (size % BLOCK !== 0) yield new Uint8Array(BLOCK - (size % BLOCK));
}

function header(name: string, type: "0" | "5", mode: number, size: number, mtimeMs: number): Uint8Array {
  const block = Buffer.alloc(BLOCK);
  if (Buffer.byteLength(name) > MAX_NAME) throw new Error(`${name}: the name is longer than ${MAX_NAME} bytes`);
  const octal = (value: number, at: number, width: number): void => {
    block.write(`${value.toString(8).padStart(width - 1, "0")}\0`, at, "latin1");
  };
  block.write(name, 0, "utf8");
  octal(mode & 0o7777, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  if (size <= MAX_OCTAL) {
    octal(size, 124, 12);
  } else {
    block[124] = 0x80;
    block.writeBigUInt64BE(BigInt(size), 128);
  }
  octal(Math.floor(mtimeMs / 1000), 136, 12);
  block.write("        ", 148, "latin1");
  block.write(type, 156, "latin1");
  block.write("ustar\0" + "00", 257, "latin1");
  const sum = block.reduce((all, byte) => all + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}
