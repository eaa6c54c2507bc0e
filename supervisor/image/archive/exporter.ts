/**
 * Writes images as one archive in the OCI layout that Docker can load too. Equal images give equal archives, byte for
 * byte: entries are sorted, times are zero (core/images/archive/exporter.go).
 */

import { ContainerdError, invalidArgument, notFound } from "../../../proto/errdefs.ts";
import { Code } from "../../../proto/ttrpc/status.ts";
import { type Descriptor, descriptorJson, encodeJson } from "../descriptor.ts";
import { childrenOf, parseIndex, parseManifest, readBlob } from "../manifest.ts";
import { isIndex, isManifest, isNonDistributable, mediaTypes } from "../mediatype.ts";
import type { Matcher, Platform } from "../platform.ts";
import { familiarName, ociReferenceName } from "../reference.ts";
import type { Blobs, ImageRecord } from "../stores.ts";
import { wrap } from "../unpack.ts";
import { walk } from "../walk.ts";
import { padding, TRAILER, tarHeader } from "./tar.ts";

/** How images are exported. */
export interface ExportOptions {
  /** Of an index, which platforms; the best one gets the names in manifest.json. */
  readonly platform: Matcher;
  /** All platforms of an index, not only those that fit. */
  readonly allPlatforms: boolean;
  readonly skipDockerManifest: boolean;
  readonly skipNonDistributable: boolean;
  readonly signal: AbortSignal;
}

/** An entry to be written: a directory, bytes, or a blob. */
interface Entry {
  readonly name: string;
  readonly mode: number;
  readonly size: number;
  readonly content?: Uint8Array | Descriptor;
}

const IMAGE_NAME = "io.containerd.image.name";

/** Writes the archive of `images`, in pieces. @throws ContainerdError NotFound when a blob of them is missing */
export async function exportImages(
  images: readonly ImageRecord[],
  blobs: Blobs,
  write: (bytes: Uint8Array) => Promise<void>,
  options: ExportOptions,
): Promise<void> {
  const entries = await collect(images, blobs, options);
  const byName = new Map(entries.map((entry) => [entry.name, entry]));
  for (const entry of [...byName.values()].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    options.signal.throwIfAborted();
    await write(tarHeader(entry.name, entry.mode, entry.size));
    if (entry.content instanceof Uint8Array) await write(entry.content);
    else if (entry.content !== undefined) await copyBlob(entry.content, blobs, write, options.signal);
    const fill = padding(entry.size);
    if (fill > 0) await write(new Uint8Array(fill));
  }
  await write(TRAILER);
}

/** Names of one manifest, for manifest.json. */
interface Named {
  readonly manifest: Descriptor;
  readonly names: string[];
}

async function collect(images: readonly ImageRecord[], blobs: Blobs, options: ExportOptions): Promise<Entry[]> {
  const entries: Entry[] = [bytesEntry("oci-layout", 0o444, { imageLayoutVersion: "1.0.0" })];
  const named = new Map<string, Named>();
  const resolved = new Map<string, string | undefined>();
  const algorithms = new Set<string>();
  const targets: Descriptor[] = [];
  const add = async (root: Descriptor): Promise<void> => {
    await walk(async (descriptor) => {
      const children = await childrenOf(blobs, descriptor);
      algorithms.add(descriptor.digest.split(":", 1)[0] ?? "");
      if (!options.skipNonDistributable || !isNonDistributable(descriptor.mediaType))
        entries.push(blobEntry(descriptor));
      return children;
    }, root);
  };
  for (const { name, target } of images) {
    const descriptor = await withNames(target, name, blobs);
    targets.push(descriptor);
    let digest: string | undefined = descriptor.digest;
    if (isManifest(descriptor.mediaType)) {
      if (!named.has(digest)) {
        await add(descriptor);
        named.set(digest, { manifest: descriptor, names: [] });
      }
    } else if (isIndex(descriptor.mediaType)) {
      if (!resolved.has(digest)) {
        entries.push(blobEntry(descriptor));
        algorithms.add(digest.split(":", 1)[0] ?? "");
        const best = await addIndex(descriptor, blobs, options, add);
        if (best && !named.has(best.digest)) named.set(best.digest, { manifest: best, names: [] });
        resolved.set(digest, best?.digest);
      }
      digest = resolved.get(digest);
    } else {
      throw invalidArgument("only manifests may be exported: invalid argument");
    }
    if (digest !== undefined) named.get(digest)?.names.push(name);
  }
  const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: targets.map(descriptorJson) };
  entries.push(bytesEntry("index.json", 0o644, index));
  if (!options.skipDockerManifest && named.size > 0) entries.push(await dockerManifest([...named.values()], blobs));
  if (algorithms.size > 0) entries.push({ name: "blobs/", mode: 0o755, size: 0 });
  for (const algorithm of algorithms) entries.push({ name: `blobs/${algorithm}/`, mode: 0o755, size: 0 });
  return entries;
}

/** Adds the manifests of an index that are asked for. @returns the one that fits best */
async function addIndex(
  index: Descriptor,
  blobs: Blobs,
  { platform, allPlatforms }: ExportOptions,
  add: (root: Descriptor) => Promise<void>,
): Promise<Descriptor | undefined> {
  const fitting: Descriptor[] = [];
  for (const manifest of parseIndex(await readBlob(blobs, index), index)) {
    if (manifest.platform === undefined || platform.matches(manifest.platform)) fitting.push(manifest);
    else if (!allPlatforms) continue;
    await add(manifest);
  }
  if (fitting.length === 0) throw notFound("no manifest found for platform: not found");
  const rank = (given: Platform | undefined, other: Platform | undefined): number =>
    given && other ? platform.compare(given, other) : (given ? 0 : 1) - (other ? 0 : 1);
  return fitting.sort((a, b) => rank(a.platform, b.platform))[0];
}

/** The descriptor with the image's name, and where its content came from. */
async function withNames(target: Descriptor, name: string, blobs: Blobs): Promise<Descriptor> {
  const { labels } = await blobs.info(target.digest);
  const sources = Object.entries(labels).filter(([key]) => key.startsWith("containerd.io/distribution.source"));
  return {
    ...target,
    annotations: {
      ...target.annotations,
      [IMAGE_NAME]: name,
      "org.opencontainers.image.ref.name": ociReferenceName(name),
      ...Object.fromEntries(sources),
    },
  };
}

function bytesEntry(name: string, mode: number, value: unknown): Entry {
  const content = encodeJson(value);
  return { name, mode, size: content.length, content };
}

function blobPath(digest: string): string {
  return `blobs/${digest.replace(":", "/")}`;
}

function blobEntry(descriptor: Descriptor): Entry {
  return { name: blobPath(descriptor.digest), mode: 0o444, size: descriptor.size, content: descriptor };
}

async function dockerManifest(named: readonly Named[], blobs: Blobs): Promise<Entry> {
  const list: unknown[] = [];
  for (const { manifest, names } of named) {
    const { config, layers } = parseManifest(await readBlob(blobs, manifest), manifest);
    list.push({
      Config: blobPath(config.digest),
      RepoTags: names.length === 0 ? null : names.map(shortName),
      Layers: layers.length === 0 ? null : layers.map(({ digest }) => blobPath(digest)),
    });
  }
  return bytesEntry("manifest.json", 0o644, list);
}

function shortName(name: string): string {
  try {
    return familiarName(name);
  } catch (error) {
    throw wrap(`unable to create manifests file: failed to parse ${JSON.stringify(name)}`, error);
  }
}

/** Bytes read from a blob at a time. */
const CHUNK = 1 << 20;

/** Copies a blob, and checks that it is what it is called. */
async function copyBlob(
  descriptor: Descriptor,
  blobs: Blobs,
  write: (bytes: Uint8Array) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const reader = await blobs.open(descriptor.digest).catch((error: unknown) => {
    throw wrap("failed to get reader", error);
  });
  try {
    if (reader.size !== descriptor.size) throw damaged(`unexpected copy size for ${blobPath(descriptor.digest)}`);
    const hasher = new Bun.CryptoHasher(descriptor.digest.split(":", 1)[0] as "sha256");
    let next = reader.read(0, CHUNK);
    for (let offset = 0; offset < reader.size; ) {
      signal.throwIfAborted();
      const bytes = await next;
      if (bytes.length === 0) throw damaged(`unexpected copy size for ${blobPath(descriptor.digest)}`);
      offset += bytes.length;
      // The disk works while the network does.
      if (offset < reader.size) {
        next = reader.read(offset, CHUNK);
        next.catch(() => undefined);
      }
      hasher.update(bytes);
      await write(bytes);
    }
    const digest = `${descriptor.digest.split(":", 1)[0]}:${hasher.digest("hex")}`;
    if (digest !== descriptor.digest) throw damaged(`unexpected digest ${digest} copied`);
  } finally {
    await reader.close();
  }
}

function damaged(message: string): ContainerdError {
  return new ContainerdError(Code.Unknown, message);
}
