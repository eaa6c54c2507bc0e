/** Reads manifests, indexes and configurations. All of it may be hostile: sizes, types and counts are checked. */

import { ContainerdError, invalidArgument } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import { type Descriptor, parseDescriptor, parsePlatformObject } from "./descriptor.ts";
import { isIndex, isManifest, mediaTypes } from "./mediatype.ts";
import { normalize, type Platform } from "./platform.ts";
import type { Blobs } from "./stores.ts";

/** Longest manifest, index or configuration. */
export const MAX_MANIFEST = 8 << 20;
/** Most layers of a manifest, and most manifests of an index. */
const MAX_CHILDREN = 4096;

type Json = Readonly<Record<string, unknown>>;

function parseObject(bytes: Uint8Array, what: string): Json {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes));
  } catch {
    throw invalidArgument(`${what} is no JSON: invalid argument`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw invalidArgument(`${what} is no JSON object: invalid argument`);
  }
  return value as Json;
}

/**
 * Reads a whole blob of a manifest's kind.
 * @throws ContainerdError NotFound, ResourceExhausted when it is too long
 */
export async function readBlob(blobs: Blobs, { digest }: { readonly digest: string }): Promise<Uint8Array> {
  const reader = await blobs.open(digest);
  try {
    if (reader.size > MAX_MANIFEST) {
      throw new ContainerdError(
        Code.ResourceExhausted,
        `${digest} has ${reader.size} bytes; a manifest or configuration may have ${MAX_MANIFEST}`,
      );
    }
    const parts: Uint8Array[] = [];
    let offset = 0;
    while (offset < reader.size) {
      const part = await reader.read(offset, reader.size - offset);
      if (part.length === 0) throw new ContainerdError(Code.DataLoss, `${digest} ends after ${offset} bytes`);
      parts.push(part);
      offset += part.length;
    }
    const [first] = parts;
    return parts.length === 1 && first ? first : Buffer.concat(parts);
  } finally {
    await reader.close();
  }
}

function listOf(value: unknown, what: string): Descriptor[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw invalidArgument(`${what} is no list: invalid argument`);
  if (value.length > MAX_CHILDREN) {
    throw new ContainerdError(
      Code.ResourceExhausted,
      `${what} has ${value.length} entries; ${MAX_CHILDREN} are allowed`,
    );
  }
  return value.map((item, index) => parseDescriptor(item, `${what}[${index}]`));
}

function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null;
}

/** Refuses a blob that claims to be one kind and holds another (a client could be shown the one and run the other). */
function checkKind(document: Json, { digest, mediaType }: Descriptor): void {
  const { manifests, config, layers, mediaType: own } = document;
  const refuse = (why: string): Error => invalidArgument(`children: invalid desc ${digest}: media-type: ${why}`);
  if (isGiven(document["fsLayers"])) throw refuse("schema 1 not supported");
  const says = typeof own === "string" ? own : "";
  if (isManifest(mediaType) && (isGiven(manifests) || isIndex(says))) {
    throw refuse(`expected manifest but found index (${mediaType})`);
  }
  if (isIndex(mediaType) && (isGiven(config) || isGiven(layers) || isManifest(says))) {
    throw refuse(`expected index but found manifest (${mediaType})`);
  }
}

/** A manifest: the configuration of one image and its layers, lowest first. */
export interface Manifest {
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

/** @throws ContainerdError InvalidArgument */
export function parseManifest(bytes: Uint8Array, descriptor: Descriptor): Manifest {
  const document = parseObject(bytes, `manifest ${descriptor.digest}`);
  checkKind(document, descriptor);
  return {
    config: parseDescriptor(document["config"], `config of manifest ${descriptor.digest}`),
    layers: listOf(document["layers"], `layers of manifest ${descriptor.digest}`),
  };
}

/** The manifests of an index. @throws ContainerdError InvalidArgument */
export function parseIndex(bytes: Uint8Array, descriptor: Descriptor): readonly Descriptor[] {
  const document = parseObject(bytes, `index ${descriptor.digest}`);
  checkKind(document, descriptor);
  return listOf(document["manifests"], `manifests of index ${descriptor.digest}`);
}

/** What a blob refers to: of an index the manifests, of a manifest its configuration and layers, of others nothing. */
export async function childrenOf(blobs: Blobs, descriptor: Descriptor): Promise<readonly Descriptor[]> {
  const { mediaType } = descriptor;
  if (mediaType === mediaTypes.dockerSchema1) throw schema1();
  if (isManifest(mediaType)) {
    const { config, layers } = parseManifest(await readBlob(blobs, descriptor), descriptor);
    return [config, ...layers];
  }
  return isIndex(mediaType) ? parseIndex(await readBlob(blobs, descriptor), descriptor) : [];
}

/** The error about images of a format that nobody makes any more. */
export function schema1(): ContainerdError {
  return invalidArgument("schema 1 image manifests are no longer supported: invalid argument");
}

/** What unpacking needs of an image's configuration. */
export interface ImageConfig {
  readonly platform: Platform;
  /** Digests of the uncompressed layers, lowest first. */
  readonly diffIds: readonly string[];
}

/** @throws ContainerdError InvalidArgument */
export function parseConfig(bytes: Uint8Array, digest: string): ImageConfig {
  const document = parseObject(bytes, `image config ${digest}`);
  const rootfs = document["rootfs"] as { diff_ids?: unknown } | null | undefined;
  const ids = rootfs?.diff_ids ?? [];
  if (!Array.isArray(ids) || !ids.every((id) => typeof id === "string") || ids.length > MAX_CHILDREN) {
    throw invalidArgument(`image config ${digest} has invalid diff_ids: invalid argument`);
  }
  const platform = parsePlatformObject(document) ?? { os: "", architecture: "" };
  return { platform: normalize(platform), diffIds: ids };
}
