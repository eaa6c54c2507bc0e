/**
 * Reads archives of images: the OCI layout, and what `docker save` writes, old and new. All files become blobs; what
 * comes out is an index of the images in the archive (core/images/archive/importer.go).
 */

import { posix } from "node:path";
import { createGzip } from "node:zlib";
import { ContainerdError, messageOf } from "../../../proto/errdefs.ts";
import { Code } from "../../../proto/ttrpc/status.ts";
import { type Descriptor, descriptorJson, digestOf, encodeJson, isDigest } from "../descriptor.ts";
import { ingest, ingestBytes, openWriter } from "../ingest.ts";
import { parseConfig, readBlob } from "../manifest.ts";
import { mediaTypes } from "../mediatype.ts";
import { normalizeDockerName, ociReferenceName } from "../reference.ts";
import type { Blobs } from "../stores.ts";
import { codeOf, wrap } from "../unpack.ts";
import { type ByteSource, compressionOf } from "./source.ts";
import { readTar, type TarEntry } from "./tar.ts";

/** Longest `oci-layout` and `manifest.json`. */
const MAX_JSON = 20 << 20;
const LAYOUT_VERSION = "1.0.0";

/** How an archive is imported. */
export interface ImportOptions {
  /** Compress the layers of archives without manifests. */
  readonly compress: boolean;
  readonly signal: AbortSignal;
}

interface DockerImage {
  readonly config: string;
  readonly tags: readonly string[];
  readonly layers: readonly string[];
}

type File = Pick<Descriptor, "digest" | "size">;

/**
 * Makes blobs of an archive.
 * @returns the index of its images, itself a blob
 * @throws ContainerdError for what is no archive of images
 */
export async function importArchive(source: ByteSource, blobs: Blobs, options: ImportOptions): Promise<Descriptor> {
  const files = new Map<string, File>();
  const links = new Map<string, string>();
  let layout: unknown;
  let images: readonly DockerImage[] | undefined;
  for await (const entry of readTar(source)) {
    const name = posix.normalize(entry.name);
    if (entry.type === "symlink") links.set(entry.name, posix.join(posix.dirname(entry.name), entry.linkName));
    if (entry.type !== "file") continue;
    if (name === "oci-layout") {
      layout = await readJson(entry, "oci layout");
    } else if (name === "manifest.json") {
      images = parseDockerImages(await readJson(entry, "manifest"));
    } else {
      files.set(name, { digest: await ingestFile(blobs, name, entry, options.signal), size: entry.size });
    }
  }
  const version = (layout as { imageLayoutVersion?: unknown } | undefined | null)?.imageLayoutVersion;
  if (typeof version === "string" && version !== "") {
    if (version !== LAYOUT_VERSION) throw unknown(`unsupported OCI version ${version}`);
    const index = files.get("index.json");
    if (index === undefined) throw unknown(`missing index.json in OCI layout ${LAYOUT_VERSION}`);
    return { mediaType: mediaTypes.ociIndex, ...index };
  }
  if (images === undefined) throw unknown("unrecognized image format");
  for (const [name, target] of links) {
    const file = files.get(target);
    if (file === undefined) throw unknown(`no target for symlink layer from ${quoted(name)} to ${quoted(target)}`);
    files.set(name, file);
  }
  return indexOf(images, files, blobs, options);
}

function unknown(message: string): ContainerdError {
  return new ContainerdError(Code.Unknown, message);
}

function quoted(text: string): string {
  return JSON.stringify(text.slice(0, 300));
}

async function readJson({ name, size, body }: TarEntry, what: string): Promise<unknown> {
  if (size > MAX_JSON) {
    throw new ContainerdError(
      Code.ResourceExhausted,
      `untar ${what} ${quoted(name)}: ${size} bytes are too many, ${MAX_JSON} are allowed`,
    );
  }
  const parts: Uint8Array[] = [];
  for await (const part of body) parts.push(part.slice());
  try {
    return JSON.parse(Buffer.concat(parts).toString("utf8"));
  } catch (error) {
    throw unknown(`untar ${what} ${quoted(name)}: ${messageOf(error)}`);
  }
}

async function ingestFile(blobs: Blobs, name: string, entry: TarEntry, signal: AbortSignal): Promise<string> {
  const [, algorithm, hex] = /^blobs\/(\w+)\/(\w+)$/.exec(name) ?? [];
  const named = `${algorithm}:${hex}`;
  try {
    const options = { ref: `tar-${name}`, size: entry.size, ...(isDigest(named) ? { expected: named } : {}) };
    return await ingest(blobs, options, entry.body, signal);
  } catch (error) {
    throw wrap(`failed to ingest ${quoted(entry.name)}`, error);
  }
}

function parseDockerImages(value: unknown): DockerImage[] {
  if (value === null || value === undefined) return [];
  if (!Array.isArray(value)) throw unknown("manifest.json is no list");
  const strings = (list: unknown, what: string): readonly string[] => {
    if (list === null || list === undefined) return [];
    if (!Array.isArray(list) || !list.every((item) => typeof item === "string")) {
      throw unknown(`${what} in manifest.json are no list of strings`);
    }
    return list;
  };
  return value.map((item: unknown) => {
    const image = (typeof item === "object" && item !== null ? item : {}) as Record<string, unknown>;
    const config = image["Config"];
    return {
      config: typeof config === "string" ? config : "",
      tags: strings(image["RepoTags"], "RepoTags"),
      layers: strings(image["Layers"], "Layers"),
    };
  });
}

async function indexOf(
  images: readonly DockerImage[],
  files: ReadonlyMap<string, File>,
  blobs: Blobs,
  options: ImportOptions,
): Promise<Descriptor> {
  const manifests: Descriptor[] = [];
  for (const image of images) {
    const file = files.get(image.config);
    if (file === undefined) throw unknown(`image config ${quoted(image.config)} not found`);
    const config: Descriptor = { mediaType: mediaTypes.dockerConfig, ...file };
    const layers: Descriptor[] = [];
    for (const name of image.layers) {
      const layer = files.get(name);
      if (layer === undefined) throw unknown(`failed to resolve layers: layer ${quoted(name)} not found`);
      layers.push(await resolveLayer(layer, blobs, options));
    }
    const manifest = {
      schemaVersion: 2,
      mediaType: mediaTypes.dockerManifest,
      config: descriptorJson(config),
      layers: layers.map(descriptorJson),
    };
    const written = await writeManifest(blobs, manifest, mediaTypes.dockerManifest, options.signal);
    const { platform } = parseConfig(await readBlob(blobs, config), config.digest);
    const descriptor: Descriptor = { ...written, platform };
    if (image.tags.length === 0) manifests.push(descriptor);
    for (const tag of image.tags) manifests.push({ ...descriptor, annotations: nameAnnotations(tag) });
  }
  const index = { schemaVersion: 2, manifests: manifests.map(descriptorJson) };
  return writeManifest(blobs, index, mediaTypes.ociIndex, options.signal);
}

function nameAnnotations(tag: string): Record<string, string> {
  let name: string;
  try {
    name = normalizeDockerName(tag);
  } catch (error) {
    throw wrap(`normalize image ref ${quoted(tag)}`, error);
  }
  return { "io.containerd.image.name": name, "org.opencontainers.image.ref.name": ociReferenceName(name) };
}

async function writeManifest(
  blobs: Blobs,
  value: unknown,
  mediaType: string,
  signal: AbortSignal,
): Promise<Descriptor> {
  const bytes = encodeJson(value);
  const digest = digestOf(bytes);
  await ingestBytes(blobs, `manifest-${digest}`, bytes, signal);
  return { mediaType, digest, size: bytes.length };
}

/** The descriptor of a layer; one that is here compressed already is taken in its place. */
async function resolveLayer(layer: File, blobs: Blobs, { compress, signal }: ImportOptions): Promise<Descriptor> {
  const twin = await blobs.findUncompressed(layer.digest);
  const { digest, size } = twin ?? layer;
  const reader = await blobs.open(digest);
  let compression: ReturnType<typeof compressionOf>;
  try {
    compression = compressionOf(await reader.read(0, Math.min(10, reader.size)));
  } finally {
    await reader.close();
  }
  if (compression !== "none") return { mediaType: mediaTypes.dockerLayerGzip, digest, size };
  if (compress && twin === undefined)
    return { mediaType: mediaTypes.dockerLayerGzip, ...(await compressBlob(layer, blobs, signal)) };
  return { mediaType: mediaTypes.dockerLayer, digest, size };
}

/** Bytes read from a blob at a time. */
const CHUNK = 1 << 20;

async function compressBlob({ digest }: File, blobs: Blobs, signal: AbortSignal): Promise<File> {
  const ref = `compress-blob-${digest.replace(":", "-")}`;
  const reader = await blobs.open(digest);
  const writer = await openWriter(blobs, { ref }, signal);
  try {
    if (writer.offset > 0) await writer.truncate(0);
    const gzip = createGzip();
    const fed = (async () => {
      for (let offset = 0; offset < reader.size; ) {
        signal.throwIfAborted();
        const bytes = await reader.read(offset, CHUNK);
        offset += bytes.length;
        if (!gzip.write(bytes)) await new Promise((resolve) => gzip.once("drain", resolve));
      }
      gzip.end();
    })();
    fed.catch((error: Error) => gzip.destroy(error));
    for await (const bytes of gzip) await writer.write(bytes as Uint8Array);
    await fed;
    const compressed = { digest: writer.digest(), size: writer.offset };
    await writer
      .commit({ size: compressed.size, expected: compressed.digest, labels: { "containerd.io/uncompressed": digest } })
      .catch((error: unknown) => {
        if (codeOf(error) !== Code.AlreadyExists) throw error;
      });
    return compressed;
  } catch (error) {
    await writer.close();
    await blobs.abort(ref).catch(() => undefined);
    throw error;
  } finally {
    await writer.close();
    await reader.close();
  }
}
