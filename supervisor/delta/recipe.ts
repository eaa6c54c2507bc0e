/**
 * How a layer was compressed, so that the very same bytes can be made again: the blob keeps its digest. Where the
 * program that did it is none of ours, no recipe is found, and the layer stays uncompressed.
 */

import { constants, crc32, createDeflateRaw, createZstdCompress } from "node:zlib";
import { invalidArgument } from "../../proto/errdefs.ts";

/** A way to compress. */
export type Recipe =
  | { readonly kind: "none" }
  /** zlib's deflate. `header` is that of the file, in base64. */
  | { readonly kind: "gzip"; readonly header: string; readonly level: number; readonly memory: number }
  | { readonly kind: "zstd"; readonly level: number };

/** Bytes that the compressor gets at a time: zlib's output depends on it. */
const INPUT_BYTES = 64 << 10;
const OUTPUT_BYTES = 128 << 10;
/** Longest header of a gzip file that is kept. */
const MAX_HEADER = 4096;

/** What the recipe of a delta says. @throws ContainerdError InvalidArgument */
export function parseRecipe(value: unknown, where: string): Recipe {
  const { kind, header, level, memory } = (typeof value === "object" && value !== null ? value : {}) as Record<
    string,
    unknown
  >;
  const isIn = (number: unknown, from: number, to: number): number is number =>
    Number.isInteger(number) && (number as number) >= from && (number as number) <= to;
  if (kind === "none") return { kind };
  if (kind === "zstd" && isIn(level, 1, 19)) return { kind, level };
  if (kind === "gzip" && isIn(level, 1, 9) && isIn(memory, 1, 9) && typeof header === "string") {
    if (header.length <= 2 * MAX_HEADER) return { kind, header, level, memory };
  }
  throw invalidArgument(`${where} has no compression that is known here: invalid argument`);
}

interface NativeHandle {
  writeSync(...call: [number, Uint8Array, number, number, Uint8Array, number, number]): void;
  onerror: (message: string) => void;
}

interface Stream {
  readonly _handle: NativeHandle;
  readonly _writeState: Uint32Array;
}

/** Takes compressed bytes, which are valid during the call. */
export type Sink = (bytes: Buffer) => void;

/** Compresses one stream by a recipe. Synchronous, on the native part of node:zlib as in diff/deflate.ts. */
export class Compressor {
  readonly #recipe: Recipe;
  readonly #sink: Sink;
  readonly #stream: Stream | undefined;
  readonly #input = Buffer.allocUnsafeSlow(INPUT_BYTES);
  readonly #output = Buffer.allocUnsafeSlow(OUTPUT_BYTES);
  #filled = 0;
  #crc = 0;
  #size = 0;
  #failure: string | undefined;

  constructor(recipe: Recipe, sink: Sink) {
    this.#recipe = recipe;
    this.#sink = sink;
    if (recipe.kind === "none") return;
    this.#stream = streamOf(recipe) as unknown as Stream;
    this.#stream._handle.onerror = (message) => {
      this.#failure = message;
    };
    if (recipe.kind === "gzip") sink(Buffer.from(recipe.header, "base64"));
  }

  /** Compresses bytes. */
  write(bytes: Buffer): void {
    if (this.#stream === undefined) {
      this.#sink(bytes);
      return;
    }
    if (this.#recipe.kind === "gzip") this.#crc = crc32(bytes, this.#crc);
    this.#size += bytes.length;
    for (let at = 0; at < bytes.length; ) {
      const count = bytes.copy(this.#input, this.#filled, at);
      at += count;
      this.#filled += count;
      if (this.#filled === INPUT_BYTES) this.#push(0);
    }
  }

  /** Ends the stream. */
  end(): void {
    if (this.#stream === undefined) return;
    if (this.#filled > 0) this.#push(0);
    const isGzip = this.#recipe.kind === "gzip";
    this.#push(isGzip ? constants.Z_FINISH : constants.ZSTD_e_end);
    if (!isGzip) return;
    const trailer = Buffer.alloc(8);
    trailer.writeUInt32LE(this.#crc >>> 0, 0);
    trailer.writeUInt32LE(this.#size % 2 ** 32, 4);
    this.#sink(trailer);
  }

  #push(flush: number): void {
    const { _handle: handle, _writeState: state } = this.#stream as Stream;
    let [at, left] = [0, this.#filled];
    this.#filled = 0;
    for (;;) {
      handle.writeSync(flush, this.#input, at, left, this.#output, 0, OUTPUT_BYTES);
      if (this.#failure !== undefined) throw new Error(`compression: ${this.#failure}`);
      const [outputLeft = 0, inputLeft = 0] = state;
      if (outputLeft < OUTPUT_BYTES) this.#sink(this.#output.subarray(0, OUTPUT_BYTES - outputLeft));
      at += left - inputLeft;
      left = inputLeft;
      if (left === 0 && outputLeft > 0) return;
    }
  }
}

function streamOf(recipe: Exclude<Recipe, { kind: "none" }>): unknown {
  if (recipe.kind === "gzip") return createDeflateRaw({ level: recipe.level, memLevel: recipe.memory });
  return createZstdCompress({ params: { [constants.ZSTD_c_compressionLevel]: recipe.level } });
}

/** Recipes that may be the one of a blob that begins so, the likeliest first. */
export function recipesFor(head: Buffer): Recipe[] {
  if (head.readUInt32LE(0) === 0xfd2fb528)
    return [3, 1, 2, 4, 5, 6, 7, 9, 11, 15, 19].map((level) => ({ kind: "zstd", level }));
  if (head[0] !== 0x1f || head[1] !== 0x8b) return [{ kind: "none" }];
  const header = gzipHeader(head);
  if (header === undefined) return [];
  const levels = [6, 9, 1, 5, 4, 3, 2, 7, 8];
  return [8, 9].flatMap((memory) => levels.map((level) => ({ kind: "gzip" as const, header, level, memory })));
}

/** The header of a gzip file, in base64; undefined when it is too long, or none. */
function gzipHeader(head: Buffer): string | undefined {
  const flags = head[3] ?? 0;
  let at = 10;
  if (flags & 4) at += 2 + head.readUInt16LE(at);
  for (const flag of [8, 16]) {
    if (!(flags & flag)) continue;
    const end = head.indexOf(0, at);
    if (end < 0) return undefined;
    at = end + 1;
  }
  if (flags & 2) at += 2;
  return at <= Math.min(MAX_HEADER, head.length) ? head.subarray(0, at).toString("base64") : undefined;
}
