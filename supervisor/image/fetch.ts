/** Fetches blobs from a registry into the store: resumed after interruptions, checked by digest. */

import { setTimeout as sleep } from "node:timers/promises";
import { ContainerdError, failedPrecondition, invalidArgument } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import { type Descriptor, refKey } from "./descriptor.ts";
import { openWriter } from "./ingest.ts";
import { TransientError } from "./registry/errors.ts";
import type { Registry } from "./registry.ts";
import type { Blobs, BlobWriter } from "./stores.ts";
import { codeOf, wrap } from "./unpack.ts";

/** Attempts that bring nothing before a fetch fails, and the waits between them, in milliseconds. */
const RETRY = { attempts: 5, first: 100, last: 5000 };

/**
 * Fetches one blob, from where an earlier attempt was left.
 * @returns false when the blob was there already
 * @throws ContainerdError for a blob that cannot be had, or is another than was asked for
 */
export async function fetchBlob(
  registry: Registry,
  blobs: Blobs,
  descriptor: Descriptor,
  options: FetchOptions,
): Promise<boolean> {
  const resumed = await attempt(registry, blobs, descriptor, options);
  // What an earlier pull has left was not the beginning of this: once more, from the beginning.
  return resumed === "wrong beginning"
    ? (await attempt(registry, blobs, descriptor, options)) === "new"
    : resumed === "new";
}

/** How a blob is fetched. */
export interface FetchOptions {
  readonly signal: AbortSignal;
  /** Told how many bytes are there. */
  readonly moved: (bytes: number) => void;
  /** Told how many bytes were there before anything was asked for, if any. */
  readonly resumed?: ((bytes: number) => void) | undefined;
  /** Told how many bytes have come, as they come. */
  readonly received?: ((bytes: number) => void) | undefined;
}

async function attempt(
  registry: Registry,
  blobs: Blobs,
  descriptor: Descriptor,
  options: FetchOptions,
): Promise<"new" | "there" | "wrong beginning"> {
  const { digest, size, data } = descriptor;
  const { signal } = options;
  const ref = refKey(descriptor);
  let writer: BlobWriter;
  try {
    writer = await openWriter(blobs, { ref, total: size, expected: digest }, signal);
  } catch (error) {
    if (codeOf(error) === Code.AlreadyExists) return "there";
    throw error;
  }
  let before = 0;
  try {
    if (size === 0) {
      throw invalidArgument(
        `unable to fetch descriptor (${digest}) which reports content size of zero: invalid argument`,
      );
    }
    if (writer.offset > size) await writer.truncate(0);
    before = writer.offset;
    if (before > 0) options.resumed?.(before);
    const inline = data === undefined ? undefined : Buffer.from(data, "base64");
    if (inline?.length === size && writer.offset === 0) await writer.write(inline);
    else await download(registry, descriptor, writer, options);
    await writer.commit({ size, expected: digest });
    return "new";
  } catch (error) {
    if (signal.aborted) throw new ContainerdError(Code.Canceled, "context canceled", { cause: error });
    if (codeOf(error) === Code.AlreadyExists) return "there";
    if (codeOf(error) === Code.FailedPrecondition) {
      // The bytes are wrong: the next attempt must not build on them.
      await writer.close();
      await blobs.abort(ref).catch(() => undefined);
      if (before > 0) return "wrong beginning";
      throw wrap(`failed commit on ref ${JSON.stringify(ref)}`, error);
    }
    throw error;
  } finally {
    await writer.close();
  }
}

async function download(
  registry: Registry,
  descriptor: Descriptor,
  writer: BlobWriter,
  { signal, moved, received }: FetchOptions,
): Promise<void> {
  const { size } = descriptor;
  let fruitless = 0;
  let wait = RETRY.first;
  while (writer.offset < size) {
    const before = writer.offset;
    try {
      let offset = before;
      for await (const chunk of await registry.fetch(descriptor, before, signal)) {
        signal.throwIfAborted();
        offset += chunk.length;
        received?.(chunk.length);
        if (offset > size) {
          throw failedPrecondition(
            `the registry sent more than the ${size} bytes of ${descriptor.digest}: failed precondition`,
          );
        }
        await writer.write(chunk);
        moved(writer.offset);
      }
      if (writer.offset < size) throw new TransientError("unexpected EOF");
    } catch (error) {
      if (signal.aborted || !(error instanceof TransientError)) throw error;
      if (writer.offset > before) {
        fruitless = 0;
        wait = RETRY.first;
      } else if (++fruitless >= RETRY.attempts) {
        throw wrap(`failed to fetch ${descriptor.digest} after ${fruitless} attempts`, error);
      }
      await sleep(wait, undefined, { signal });
      wait = Math.min(RETRY.last, wait * 2);
    }
  }
}
