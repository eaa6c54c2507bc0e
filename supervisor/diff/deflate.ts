/** Compression as a synchronous push; see inflate.ts for why it works on the native part of node:zlib. */

import { constants, createGzip, createZstdCompress } from "node:zlib";
import type { Compression } from "./compression.ts";
import type { Output } from "./tar/writer.ts";

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
  onerror: (message: string) => void;
}

interface Stream {
  readonly _handle: NativeHandle;
  readonly _writeState: Uint32Array;
}

const OUTPUT_BYTES = 128 << 10;
/** What zlib makes depends on how much it is given at a time: always this much (delta/recipe.ts does the same). */
const INPUT_BYTES = 64 << 10;

/** A compressor of one stream; equal input gives equal output. */
export class Deflater {
  readonly #stream: Stream;
  readonly #finish: number;
  readonly #sink: Output;
  readonly #output = Buffer.allocUnsafeSlow(OUTPUT_BYTES);
  readonly #input = Buffer.allocUnsafeSlow(INPUT_BYTES);
  #filled = 0;
  #failure: string | undefined;

  constructor(compression: Exclude<Compression, "none">, sink: Output) {
    const isGzip = compression === "gzip";
    this.#stream = (isGzip ? createGzip() : createZstdCompress()) as unknown as Stream;
    this.#finish = isGzip ? constants.Z_FINISH : constants.ZSTD_e_end;
    this.#sink = sink;
    this.#stream._handle.onerror = (message) => {
      this.#failure = message;
    };
  }

  /** Compresses the bytes of the buffer from `from` to `to`. */
  write(buffer: Buffer, from: number, to: number): void {
    for (let at = from; at < to; ) {
      const count = buffer.copy(this.#input, this.#filled, at, to);
      at += count;
      this.#filled += count;
      if (this.#filled === INPUT_BYTES) this.#flush();
    }
  }

  /** Ends the stream. */
  end(): void {
    if (this.#filled > 0) this.#flush();
    this.#push(this.#finish, this.#output, 0, 0);
  }

  #flush(): void {
    const length = this.#filled;
    this.#filled = 0;
    this.#push(0, this.#input, 0, length);
  }

  #push(flush: number, input: Buffer, from: number, length: number): void {
    const { _handle: handle, _writeState: state } = this.#stream;
    let [at, left] = [from, length];
    for (;;) {
      handle.writeSync(flush, input, at, left, this.#output, 0, OUTPUT_BYTES);
      if (this.#failure !== undefined) throw new Error(`compression: ${this.#failure}`);
      const [outputLeft = 0, inputLeft = 0] = state;
      const count = OUTPUT_BYTES - outputLeft;
      if (count > 0) this.#sink(this.#output, 0, count);
      at += left - inputLeft;
      left = inputLeft;
      // Space that is left over: nothing is waiting to come out.
      if (left === 0 && outputLeft > 0) return;
    }
  }
}
