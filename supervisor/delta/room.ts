/** Deltas in the daemon: out of archives, and of registries in the place of whole pulls. */

import { mkdirSync } from "node:fs";
import { messageOf } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import type { DeltaLoader, DeltaPuller } from "../image/delta.ts";
import type { Descriptor } from "../image/descriptor.ts";
import { fetchBlob } from "../image/fetch.ts";
import { childrenOf, parseIndex, readBlob } from "../image/manifest.ts";
import { isIndex, isManifest } from "../image/mediatype.ts";
import { hostPlatform, ordered, type Platform, runnable } from "../image/platform.ts";
import type { PullBytes } from "../image/pull-bytes.ts";
import { parseReference } from "../image/reference.ts";
import type { Registry } from "../image/registry.ts";
import type { Blobs } from "../image/stores.ts";
import type { Job, StoreEnd } from "../image/transfer.ts";
import { codeOf } from "../image/unpack.ts";
import type { Log } from "../log/log.ts";
import type { Images } from "../store/images.ts";
import { type DeltaDocument, deltaTag, ORIGINAL, parseDocument, readDeltaManifest } from "./document.ts";
import { restoreImage } from "./restore.ts";

/** Older images of a repository that are looked at, at most. */
const MAX_OLDER = 16;

/** What deltas are made with. */
export interface DeltaRoomParts {
  /** Whether pulls look for deltas. */
  readonly isEnabled: boolean;
  /** A directory of its own, for files that have no name; made when it is missing. */
  readonly temporary: string;
  /** Most bytes of an uncompressed layer. */
  readonly maxBytes: number;
  readonly images: Pick<Images, "list">;
  readonly bytes: PullBytes;
  readonly log: Log;
}

/** The deltas of one daemon. */
export class DeltaRoom implements DeltaLoader, DeltaPuller {
  readonly #parts: DeltaRoomParts;

  constructor(parts: DeltaRoomParts) {
    this.#parts = parts;
    mkdirSync(parts.temporary, { recursive: true, mode: 0o700 });
  }

  async load(delta: Descriptor, job: Job): Promise<{ root: Descriptor; name: string }> {
    const { config } = await readDeltaManifest(job.blobs, delta);
    const document = parseDocument(await readBlob(job.blobs, config));
    return { root: await this.#restore(document, job, false), name: document.new.name };
  }

  async pull(registry: Registry, target: Descriptor, store: StoreEnd, job: Job): Promise<Descriptor | undefined> {
    if (!this.#parts.isEnabled || store.platforms.length > 1) return undefined;
    try {
      return await this.#pull(registry, target, store, job);
    } catch (error) {
      if (job.signal.aborted) throw error;
      // Whatever is wrong with a delta, the image itself may be had.
      this.#parts.log.warn("a delta could not be used: the whole image is pulled", {
        image: registry.reference,
        error: messageOf(error),
      });
      return undefined;
    }
  }

  async #pull(
    registry: Registry,
    target: Descriptor,
    { platforms }: StoreEnd,
    job: Job,
  ): Promise<Descriptor | undefined> {
    const { blobs, signal, report } = job;
    const olds = this.#older(registry.reference, target.digest, job.namespace);
    if (olds.length === 0 || registry.at === undefined) return undefined;
    if (isIndex(target.mediaType)) {
      await fetchBlob(registry, blobs, target, {
        signal,
        moved() {},
        received: (n) => this.#parts.bytes.pulled("full", n),
      });
    }
    const manifest = await manifestOf(target, blobs, platforms);
    if (manifest === undefined) return undefined;
    const known = await knownManifests(olds, blobs, platforms);
    // A delta has made it before, with layers that could not be compressed as they were.
    const made = known.find(({ original, own }) => original === manifest.digest && own.digest !== original);
    if (made !== undefined) return (await isHere(made.own, blobs)) ? made.own : undefined;
    const before = known[0]?.original;
    if (before === undefined || before === manifest.digest) return undefined;
    const { locator } = parseReference(registry.reference);
    const place = registry.at(`${locator}:${deltaTag(before, manifest.digest)}`);
    const delta = await place.resolve(signal).catch((error: unknown) => {
      if (codeOf(error) !== Code.NotFound) throw error;
      return undefined;
    });
    if (delta === undefined) return undefined;
    report({ event: "fetching delta", name: place.reference });
    const fetched = (blob: Descriptor) =>
      fetchBlob(place, blobs, blob, { signal, moved() {}, received: (n) => this.#parts.bytes.pulled("delta", n) });
    await fetched(delta);
    const parts = await readDeltaManifest(blobs, delta);
    await fetched(parts.config);
    const document = parseDocument(await readBlob(blobs, parts.config));
    if (document.new.manifest.digest !== manifest.digest) return undefined;
    const missing = await missingBytes(document, blobs);
    const size = parts.blobs.reduce((sum, blob) => sum + blob.size, 0);
    if (size >= missing.bytes) return undefined;
    for (const blob of parts.blobs) await fetched(blob);
    const root = await this.#restore({ ...document, new: { ...document.new, target, manifest } }, job, true);
    this.#parts.bytes.saved("delta", missing.bytes - size);
    this.#parts.log.info("pulled by a delta", { image: registry.reference, bytes: size, instead: missing.bytes });
    return root;
  }

  #restore(document: DeltaDocument, { blobs, signal, report }: Job, leavesCommon: boolean): Promise<Descriptor> {
    const { temporary, maxBytes } = this.#parts;
    const onLayer = ({ digest }: { digest: string }) => report({ event: "applying delta", name: digest });
    return restoreImage(document, { blobs, signal, temporary, maxBytes, leavesCommon, onLayer });
  }

  /** Images of the same repository, the one of the same name first; none where the wanted one is here already. */
  #older(reference: string, digest: string, namespace: string): Descriptor[] {
    const { locator } = parseReference(reference);
    const images = this.#parts.images.list(namespace).filter(({ name }) => locatorOf(name) === locator);
    if (images.some(({ target }) => target?.digest === digest)) return [];
    const seconds = (image: (typeof images)[number]): number => Number(image.updatedAt?.seconds ?? 0);
    const rank = (name: string): number => (name === reference ? 0 : 1);
    return images
      .sort((a, b) => rank(a.name) - rank(b.name) || seconds(b) - seconds(a))
      .map(({ target }) => ({
        mediaType: target?.mediaType ?? "",
        digest: target?.digest ?? "",
        size: Number(target?.size ?? 0),
      }));
  }
}

function locatorOf(name: string): string | undefined {
  try {
    return parseReference(name).locator;
  } catch {
    return undefined;
  }
}

/** The manifest that a target means for a platform; undefined when there is none. */
async function manifestOf(
  target: Descriptor,
  blobs: Blobs,
  platforms: readonly Platform[],
): Promise<Descriptor | undefined> {
  if (isManifest(target.mediaType)) return target;
  if (!isIndex(target.mediaType)) return undefined;
  const matcher = platforms.length > 0 ? ordered(...platforms) : runnable(hostPlatform());
  const [best] = parseIndex(await readBlob(blobs, target), target)
    .filter(({ mediaType, platform }) => isManifest(mediaType) && (platform === undefined || matcher.matches(platform)))
    .sort((a, b) => (a.platform && b.platform ? matcher.compare(a.platform, b.platform) : 0));
  return best;
}

/** The manifests of images that are here, each with the digest that its maker gave it. */
async function knownManifests(
  targets: readonly Descriptor[],
  blobs: Blobs,
  platforms: readonly Platform[],
): Promise<{ own: Descriptor; original: string }[]> {
  const found: { own: Descriptor; original: string }[] = [];
  for (const target of targets.slice(0, MAX_OLDER)) {
    try {
      const own = await manifestOf(target, blobs, platforms);
      if (own === undefined) continue;
      const { annotations } = JSON.parse(new TextDecoder().decode(await readBlob(blobs, own))) as {
        annotations?: Record<string, unknown>;
      };
      const original = annotations?.[ORIGINAL];
      found.push({ own, original: typeof original === "string" ? original : own.digest });
    } catch {
      // Not all of it is here: the next one.
    }
  }
  return found;
}

/** True when everything that a manifest refers to is here. */
async function isHere(manifest: Descriptor, blobs: Blobs): Promise<boolean> {
  try {
    for (const { digest } of await childrenOf(blobs, manifest)) await blobs.info(digest);
    return true;
  } catch {
    return false;
  }
}

/** Bytes of the layers of the new image that are not here. */
async function missingBytes({ new: fresh, layers }: DeltaDocument, blobs: Blobs): Promise<{ bytes: number }> {
  let bytes = 0;
  for (const { digest, size, source } of layers) {
    if (source.kind === "old") continue;
    const isThere = await Promise.resolve(blobs.info(digest)).then(
      () => true,
      () => false,
    );
    if (!isThere) bytes += size;
  }
  return { bytes: bytes + fresh.manifest.size };
}
