/** Bytes of a stream, taken in the sizes that a format asks for. */

import { Readable } from "node:stream";
import { constants, createGunzip, createZstdDecompress } from "node:zlib";
import { ContainerdError } from "../../../proto/errdefs.ts";
import { Code } from "../../../proto/ttrpc/status.ts";

/** The error about a stream that ends in the middle. */
export class UnexpectedEnd extends ContainerdError {
  constructor() {
    super(Code.Unknown, "unexpected EOF");
  }
}

/** Reads a stream of bytes forward. */
export class ByteSource {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array();

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** The next bytes, at most `length`; undefined at the end. They are valid until the next call. */
  async take(length: number): Promise<Uint8Array | undefined> {
    while (this.#rest.length === 0) {
      const next = await this.#chunks.next();
      if (next.done) return undefined;
      this.#rest = next.value;
    }
    const taken = this.#rest.subarray(0, length);
    this.#rest = this.#rest.subarray(taken.length);
    return taken;
  }

  /**
   * The next `length` bytes; undefined when the stream ends before the first of them.
   * @throws ContainerdError when it ends after the first
   */
  async read(length: number): Promise<Uint8Array | undefined> {
    const first = await this.take(length);
    if (first === undefined || first.length === length) return first;
    const whole = new Uint8Array(length);
    whole.set(first);
    for (let filled = first.length; filled < length; ) {
      const part = await this.take(length - filled);
      if (part === undefined) throw new UnexpectedEnd();
      whole.set(part, filled);
      filled += part.length;
    }
    return whole;
  }

  /** Passes over bytes. @throws ContainerdError when there are not so many */
  async skip(length: number): Promise<void> {
    for (let left = length; left > 0; ) {
      const part = await this.take(left);
      if (part === undefined) throw new UnexpectedEnd();
      left -= part.length;
    }
  }

  /** The next bytes as they will be read later; fewer only at the end. */
  async peek(length: number): Promise<Uint8Array> {
    const parts: Uint8Array[] = [this.#rest];
    let size = this.#rest.length;
    while (size < length) {
      const next = await this.#chunks.next();
      if (next.done) break;
      parts.push(next.value);
      size += next.value.length;
    }
    this.#rest = parts.length === 1 ? this.#rest : Buffer.concat(parts);
    return this.#rest.subarray(0, length);
  }

  /** All that is left, piece by piece. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (;;) {
      const part = await this.take(Number.MAX_SAFE_INTEGER);
      if (part === undefined) return;
      yield part;
    }
  }

  /** Ends the stream below. */
  async close(): Promise<void> {
    this.#rest = new Uint8Array();
    await this.#chunks.return?.();
  }
}

/** Largest window of zstd that is accepted, as a power of two: what `zstd -d` accepts without being asked. */
const MAX_WINDOW_LOG = 27;

/** Compression by its first bytes. */
export function compressionOf(bytes: Uint8Array): "gzip" | "zstd" | "none" {
  if (bytes[0] === 0x1f && bytes[1] === 0x8b && bytes[2] === 0x08) return "gzip";
  if (bytes[0] === 0x28 && bytes[1] === 0xb5 && bytes[2] === 0x2f && bytes[3] === 0xfd) return "zstd";
  return "none";
}

/** The bytes of a stream, decompressed when they are compressed. */
export async function decompressed(source: ByteSource): Promise<ByteSource> {
  const compression = compressionOf(await source.peek(4));
  if (compression === "none") return source;
  const decoder =
    compression === "gzip"
      ? createGunzip({ chunkSize: 256 << 10 })
      : createZstdDecompress({ chunkSize: 256 << 10, params: { [constants.ZSTD_d_windowLogMax]: MAX_WINDOW_LOG } });
  return new ByteSource(piped(Readable.from(source, { objectMode: false }), decoder));
}

async function* piped(
  from: Readable,
  decoder: NodeJS.ReadWriteStream & AsyncIterable<Buffer>,
): AsyncGenerator<Uint8Array> {
  let failure: unknown;
  from.once("error", (error) => {
    failure = error;
    decoder.end();
  });
  from.pipe(decoder);
  try {
    for await (const chunk of decoder) yield chunk;
  } catch (error) {
    throw (
      failure ?? new ContainerdError(Code.Unknown, `the archive cannot be decompressed: ${(error as Error).message}`)
    );
  } finally {
    from.destroy();
  }
  if (failure !== undefined) throw failure;
}
