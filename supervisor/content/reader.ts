/** Readers of blobs: any number at once, each with a file of its own, which stays readable when the blob is removed. */

import type { FileHandle } from "node:fs/promises";
import { readFully } from "./disk.ts";

/** A blob that is being read. */
export class BlobReader {
  /** Bytes. */
  readonly size: number;
  /** The file, for processes that read it themselves. */
  readonly path: string;
  readonly #file: FileHandle;

  constructor(file: FileHandle, path: string, size: number) {
    this.#file = file;
    this.path = path;
    this.size = size;
  }

  /** Bytes from `offset` on: `length` of them, fewer at the end. */
  async read(offset: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(Math.max(0, Math.min(length, this.size - offset)));
    return bytes.subarray(0, await this.readInto(bytes, offset));
  }

  /** Fills `bytes` from `offset` on. @returns how many bytes were read: fewer only at the end */
  readInto(bytes: Uint8Array, offset: number): Promise<number> {
    return readFully(this.#file, bytes, offset);
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}
