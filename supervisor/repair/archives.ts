/** Blobs out of the archives of images that lie in the watched directories. */

import { Code } from "../../proto/ttrpc/status.ts";
import { ByteSource, decompressed } from "../image/archive/source.ts";
import { readTar } from "../image/archive/tar.ts";
import { ingest } from "../image/ingest.ts";
import type { Blobs } from "../image/stores.ts";
import { codeOf } from "../image/unpack.ts";
import { bytesOf, filesIn, openPlain } from "../offline/files.ts";
import { findPlaces } from "../offline/places.ts";

/**
 * Looks for a blob in every archive, by its name there and by its size, and makes it a blob again.
 * @param patterns `[images] directories`
 * @param told of each archive that is read
 * @returns the archive that had it; undefined when none has
 * @throws ContainerdError ResourceExhausted when there is no room; the signal's reason
 */
export async function takeFromArchives(
  patterns: readonly string[],
  blobs: Blobs,
  { digest, size }: { readonly digest: string; readonly size: number },
  { signal, told }: { readonly signal: AbortSignal; readonly told: (what: string) => void },
): Promise<string | undefined> {
  const named = `blobs/${digest.replace(":", "/")}`;
  for (const directory of findPlaces(patterns).matches) {
    for (const { path, kind } of await filesIn(directory)) {
      if (kind !== "archive") continue;
      told(`looking for ${digest} in ${path}`);
      const raw = new ByteSource(bytesOf(await openPlain(path)));
      try {
        for await (const entry of readTar(await decompressed(raw))) {
          signal.throwIfAborted();
          const isIt = entry.name === named || entry.name === `./${named}` || entry.size === size;
          if (entry.type !== "file" || !isIt || entry.size !== size) continue;
          const options = { ref: `repair-${digest}`, size, expected: digest };
          if (await takes(() => ingest(blobs, options, entry.body, signal))) return path;
        }
      } catch (error) {
        if (signal.aborted || codeOf(error) === Code.ResourceExhausted) throw error;
        // An archive that is damaged itself is no help.
      } finally {
        await raw.close();
      }
    }
  }
  return undefined;
}

/** @returns false when the bytes were others @throws what else went wrong */
async function takes(work: () => Promise<unknown>): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (error) {
    if (codeOf(error) === Code.FailedPrecondition) return false;
    throw error;
  }
}
