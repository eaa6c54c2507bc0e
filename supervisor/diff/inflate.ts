/**
 * Decompression as a synchronous pull into the caller's buffer. It works on the native part of Bun's node:zlib streams,
 * because their own ways either hold a whole result in memory, which a hostile layer makes as large as it likes, or go
 * through the event loop for each part. A test pins what is used of it.
 */

import { constants, createGunzip, createZstdDecompress } from "node:zlib";
import type { Compression } from "./compression.ts";
import { ZstdFrames } from "./zstd-frames.ts";

/** Compressed input that is not what it says, or ends too early. */
export class CompressionError extends Error {
  override readonly name = "CompressionError";
}

/** Reads compressed bytes into the buffer; 0 is the end. */
export type ReadInput = (into: Uint8Array) => number;

/** What is used of the native part of a node:zlib stream, as in Node. */
interface NativeHandle {
  writeSync(
    flush: number,
    input: Uint8Array,
    inputOffset: number,
    inputLength: number,
    output: Uint8Array,
    outputOffset: number,
    outputLength: number,
  ): void;
  onerror: (message: string, number: number, code: string) => void;
  reset(): void;
  close(): void;
}

interface Stream {
  readonly _handle: NativeHandle;
  /** Output space and input that were left after a write. */
  readonly _writeState: Uint32Array;
}

const INPUT_BYTES = 128 << 10;

/** A decompressor of one stream. */
export class Inflater {
  readonly #read: ReadInput;
  readonly #stream: Stream;
  readonly #name: Compression;
  readonly #flushAtEnd: number;
  readonly #input = new Uint8Array(INPUT_BYTES);
  #at = 0;
  #end = 0;
  #ended = false;
  #failure: string | undefined;
  readonly #frames: ZstdFrames | undefined;

  constructor(compression: "gzip" | "zstd", read: ReadInput) {
    this.#read = read;
    this.#name = compression;
    const isGzip = compression === "gzip";
    this.#frames = isGzip ? undefined : new ZstdFrames();
    this.#stream = (isGzip ? createGunzip() : createZstdDecompress()) as unknown as Stream;
    this.#flushAtEnd = isGzip ? constants.Z_FINISH : constants.ZSTD_e_end;
    this.#stream._handle.onerror = (message) => {
      this.#failure = message;
    };
  }

  /**
   * Decompresses into the buffer from `from` to `to`.
   * @returns how many bytes; 0 is the end
   * @throws CompressionError
   */
  read(into: Uint8Array, from: number, to: number): number {
    const { _handle: handle, _writeState: state } = this.#stream;
    for (;;) {
      if (this.#at === this.#end && !this.#ended) {
        this.#at = 0;
        this.#end = this.#read(this.#input);
        this.#ended = this.#end === 0;
        this.#frames?.feed(this.#input, 0, this.#end);
        if (this.#ended && this.#frames?.isBetween === false) {
          throw new CompressionError(`${this.#name}: unexpected end of file`);
        }
      }
      const available = this.#end - this.#at;
      const flush = this.#ended ? this.#flushAtEnd : 0;
      handle.writeSync(flush, this.#input, this.#at, available, into, from, to - from);
      if (this.#failure !== undefined) throw new CompressionError(`${this.#name}: ${this.#failure}`);
      const [outputLeft = 0, inputLeft = 0] = state;
      const count = to - from - outputLeft;
      this.#at = this.#end - inputLeft;
      if (count > 0) return count;
      if (this.#ended) return 0;
      // Neither input taken nor output made, with room for both: what follows the stream is not of it.
      if (inputLeft === available && available > 0) {
        throw new CompressionError(`${this.#name}: bytes that belong to nothing after the end`);
      }
    }
  }
}
