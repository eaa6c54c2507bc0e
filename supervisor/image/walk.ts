/** Walks what an image consists of, from the top down. */

import { ContainerdError } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import type { Descriptor } from "./descriptor.ts";

/** How deep descriptors may be nested: an index of indexes of manifests is 3. */
const MAX_DEPTH = 8;
/** How many blobs an image may refer to. */
const MAX_BLOBS = 100_000;

/** Called for a blob; gives those it refers to. */
export type Visit = (descriptor: Descriptor) => Promise<readonly Descriptor[]>;

/**
 * Calls `visit` for blobs and for all that they refer to, siblings at the same time, each blob once. The first failure
 * ends the walk, after the calls that still run.
 * @throws ContainerdError ResourceExhausted when there is no end of it; what `visit` throws
 */
export async function walk(visit: Visit, ...roots: readonly Descriptor[]): Promise<void> {
  const seen = new Set<string>();
  let failed = false;
  const level = async (descriptors: readonly Descriptor[], depth: number): Promise<void> => {
    if (depth > MAX_DEPTH) throw tooMuch(`it is nested deeper than ${MAX_DEPTH}`);
    const results = await Promise.allSettled(
      descriptors.map(async (descriptor) => {
        const key = `${descriptor.digest} ${descriptor.mediaType}`;
        if (failed || seen.has(key)) return;
        seen.add(key);
        if (seen.size > MAX_BLOBS) throw tooMuch(`it refers to more than ${MAX_BLOBS} blobs`);
        try {
          const children = await visit(descriptor);
          if (children.length > 0 && !failed) await level(children, depth + 1);
        } catch (error) {
          failed = true;
          throw error;
        }
      }),
    );
    for (const result of results) if (result.status === "rejected") throw result.reason;
  };
  await level(roots, 0);
}

function tooMuch(why: string): ContainerdError {
  return new ContainerdError(Code.ResourceExhausted, `the image is refused: ${why}`);
}
