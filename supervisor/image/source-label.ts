/**
 * Labels that say where a blob came from, by which a later push can have it mounted instead of sent
 * (core/remotes/docker/handler.go).
 */

import type { Descriptor } from "./descriptor.ts";
import { parseReference } from "./reference.ts";
import type { Blobs } from "./stores.ts";

const PREFIX = "containerd.io/distribution.source";
/** Longest label, key and value together. */
const MAX_LABEL = 4096;

function placeOf(name: string): { key: string; repository: string } {
  const { locator } = parseReference(name);
  const slash = locator.indexOf("/");
  const host = (slash < 0 ? locator : locator.slice(0, slash)).replace(/:\d*$/, "").replace(/^\[(.*)\]$/, "$1");
  return { key: `${PREFIX}.${host}`, repository: slash < 0 ? "" : locator.slice(slash + 1) };
}

/** Gives a function that notes on a blob that it came from the repository of `name`. */
export function sourceLabel(name: string): (blobs: Blobs, descriptor: Descriptor) => Promise<void> {
  const { key, repository } = placeOf(name);
  return async (blobs, { digest }) => {
    const { labels } = await blobs.info(digest);
    const repositories = new Set((labels[key] ?? "").split(",").filter((item) => item !== ""));
    repositories.add(repository);
    const value = [...repositories].sort().join(",");
    if (Buffer.byteLength(key) + Buffer.byteLength(value) <= MAX_LABEL) await blobs.label(digest, { [key]: value });
  };
}

/**
 * The repository that a blob can be mounted from, for a push to `name`: of those on the same host the one whose path is
 * most alike.
 * @param annotations source labels of the blob
 */
export function mountCandidate(name: string, annotations: Readonly<Record<string, string>>): string | undefined {
  const { key, repository } = placeOf(name);
  const wanted = repository.split("/");
  let best: { repository: string; length: number } | undefined;
  for (const candidate of (annotations[key] ?? "").split(",")) {
    if (candidate === "" || candidate === repository) continue;
    const parts = candidate.split("/");
    const different = parts.findIndex((part, index) => part !== wanted[index]);
    const length = different < 0 ? parts.length : different;
    if (best === undefined || length >= best.length) best = { repository: candidate, length };
  }
  return best?.repository;
}

/** The source labels among labels or annotations. */
export function sourcesIn(labels: Readonly<Record<string, string>> = {}): Record<string, string> {
  return Object.fromEntries(Object.entries(labels).filter(([label]) => label.startsWith(`${PREFIX}.`)));
}
