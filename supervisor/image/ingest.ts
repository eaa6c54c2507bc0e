/** Puts bytes into the store of content. */

import { setTimeout as sleep } from "node:timers/promises";
import { ContainerdError } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import { UnexpectedEnd } from "./archive/source.ts";
import { digestOf } from "./descriptor.ts";
import type { Blobs, BlobWriter } from "./stores.ts";
import { codeOf } from "./unpack.ts";

/** Waits before an ingest that another has is tried again, in milliseconds: doubled from the first to the last. */
const WAIT = { first: 10, last: 1000 };

/**
 * Opens an ingest, waiting while somebody else writes it.
 * @throws ContainerdError AlreadyExists when the expected blob is there
 */
export async function openWriter(
  blobs: Blobs,
  options: Parameters<Blobs["writer"]>[0],
  signal: AbortSignal,
): Promise<BlobWriter> {
  for (let wait = WAIT.first; ; wait = Math.min(WAIT.last, wait * 2)) {
    signal.throwIfAborted();
    try {
      return await blobs.writer(options);
    } catch (error) {
      if (codeOf(error) !== Code.Unavailable) throw error;
      await sleep(wait, undefined, { signal });
    }
  }
}

/**
 * Makes a blob of bytes that come once.
 * @param options `expected` when the digest is known
 * @returns the digest; a blob that is there already is as good
 */
export async function ingest(
  blobs: Blobs,
  options: { ref: string; size: number; expected?: string; labels?: Readonly<Record<string, string>> },
  bytes: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<string> {
  const { ref, size, expected } = options;
  let writer: BlobWriter;
  try {
    writer = await openWriter(blobs, { ref, total: size, ...(expected ? { expected } : {}) }, signal);
  } catch (error) {
    if (codeOf(error) === Code.AlreadyExists && expected) return expected;
    throw error;
  }
  try {
    if (writer.offset > 0) await writer.truncate(0);
    let taken = 0;
    try {
      for await (const chunk of bytes) {
        signal.throwIfAborted();
        taken += chunk.length;
        await writer.write(chunk);
      }
    } catch (error) {
      if (!(error instanceof UnexpectedEnd)) throw error;
      throw new ContainerdError(Code.Unknown, `short read: expected ${size} bytes but got ${taken}: ${error.message}`);
    }
    const digest = expected ?? writer.digest();
    try {
      await writer.commit({ size, expected: digest, ...(options.labels ? { labels: options.labels } : {}) });
    } catch (error) {
      if (codeOf(error) !== Code.AlreadyExists) throw error;
    }
    return digest;
  } catch (error) {
    await writer.close();
    // What came is of no use to a later attempt, which starts from the beginning.
    await blobs.abort(ref).catch(() => undefined);
    throw signal.aborted ? new ContainerdError(Code.Canceled, "context canceled", { cause: error }) : error;
  } finally {
    await writer.close();
  }
}

/** {@link ingest} of bytes that are at hand. */
export async function ingestBytes(blobs: Blobs, ref: string, bytes: Uint8Array, signal: AbortSignal): Promise<string> {
  return ingest(blobs, { ref, size: bytes.length, expected: digestOf(bytes) }, once(bytes), signal);
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
