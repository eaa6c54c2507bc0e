/** Fetches damaged blobs again: from archives that lie here, or from where they came. */

import { ContainerdError, messageOf } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import type { Descriptor } from "../image/descriptor.ts";
import { fetchBlob } from "../image/fetch.ts";
import { mediaTypes } from "../image/mediatype.ts";
import { blobsOf } from "../image/session.ts";
import { codeOf } from "../image/unpack.ts";
import { takeFromArchives } from "./archives.ts";
import type { Known } from "./known.ts";
import { type RepairRooms, registryOf } from "./rooms.ts";

/** A fetch that brings nothing for so long is given up, in milliseconds. */
const STALLED_MS = 60_000;

/** What came of one repair. */
export interface Repaired {
  readonly isRepaired: boolean;
  /** What was done, or why not and what to do. */
  readonly detail: string;
}

/**
 * Makes a blob good: by hashing it when it is only under suspicion, else by fetching it again. The new bytes are hashed
 * before they take the place of the old ones, all at once.
 * @param told of each attempt
 */
export async function repairBlob(
  rooms: Pick<RepairRooms, "config" | "database" | "content">,
  known: Known,
  digest: string,
  { signal, told }: { readonly signal: AbortSignal; readonly told: (what: string) => void },
): Promise<Repaired> {
  const { content, database } = rooms;
  const row = database.get<{ namespace: string; size: number }>(
    "SELECT namespace, size FROM blobs WHERE digest = ? ORDER BY namespace LIMIT 1",
    digest,
  );
  if (row === undefined) return { isRepaired: true, detail: "nothing needs it any more: its record is gone" };
  if ((await content.health.verify(digest, row.size)) === undefined) {
    return { isRepaired: true, detail: "its bytes are right" };
  }
  const references = known.references(digest);
  const blobs = blobsOf(content, { namespace: row.namespace, lease: undefined });
  const failures: string[] = [];
  try {
    // What lies here costs no network.
    const { directories } = rooms.config.images;
    const archive = await takeFromArchives(directories, blobs, { digest, size: row.size }, { signal, told });
    if (archive !== undefined) return { isRepaired: true, detail: `${digest} was taken again from ${archive}` };
  } catch (error) {
    if (signal.aborted) throw error;
    if (codeOf(error) === Code.ResourceExhausted) return { isRepaired: false, detail: messageOf(error) };
    failures.push(messageOf(error));
  }
  for (const reference of references) {
    for (const mediaType of typesOf(known.descriptor(digest))) {
      const descriptor: Descriptor = { ...known.descriptor(digest), mediaType, digest, size: row.size };
      told(`fetching ${digest} from ${placeOf(reference)}`);
      try {
        await watched(signal, (moved, ended) =>
          fetchBlob(registryOf(rooms.config, reference), blobs, descriptor, { signal: ended, moved }),
        );
        return { isRepaired: true, detail: `${digest} was fetched again from ${placeOf(reference)}` };
      } catch (error) {
        if (signal.aborted) throw error;
        // A full disk is the same wherever the bytes come from.
        if (codeOf(error) === Code.ResourceExhausted) return { isRepaired: false, detail: messageOf(error) };
        failures.push(`${placeOf(reference)}: ${messageOf(error)}`);
      }
    }
  }
  const why =
    references.length === 0
      ? "it is not known where it came from: import or pull its image again"
      : `it could not be fetched (${[...new Set(failures)].join("; ")}): try again when the registry answers, or import its image again`;
  return { isRepaired: false, detail: why };
}

/** Media types by which a registry may know a blob that no image tells of: registries keep manifests apart. */
function typesOf(descriptor: Descriptor | undefined): string[] {
  return descriptor === undefined ? ["application/octet-stream", mediaTypes.ociManifest] : [descriptor.mediaType];
}

function placeOf(reference: string): string {
  return reference.replace(/@.*$/, "");
}

/** Runs a fetch until it ends, is cancelled, or brings nothing for too long. */
async function watched<T>(
  signal: AbortSignal,
  work: (moved: () => void, ended: AbortSignal) => Promise<T>,
): Promise<T> {
  const stalled = new AbortController();
  const give = (): void => stalled.abort(new Error("stalled"));
  let timer = setTimeout(give, STALLED_MS);
  const moved = (): void => {
    clearTimeout(timer);
    timer = setTimeout(give, STALLED_MS);
  };
  try {
    return await work(moved, AbortSignal.any([signal, stalled.signal]));
  } catch (error) {
    if (!stalled.signal.aborted) throw error;
    throw new ContainerdError(Code.DeadlineExceeded, `nothing came for ${STALLED_MS / 1000} s`, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}
