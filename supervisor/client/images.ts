/** Images as a client sees them: their names, what is there of them, and what their configurations say. */

import { ContainerdError, failedPrecondition, invalidArgument, notFound } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import type { Descriptor } from "../image/descriptor.ts";
import { type ImageConfig, type Manifest, parseConfig, parseIndex, parseManifest } from "../image/manifest.ts";
import { isConfig, isIndex, isManifest } from "../image/mediatype.ts";
import { hostPlatform, type Platform, runnable } from "../image/platform.ts";
import { normalizeDockerName, parseDockerName } from "../image/reference.ts";
import type { Api, ResponseOf } from "./api.ts";
import { readDocument } from "./content.ts";

const IMAGES = "containerd.services.images.v1.Images";
const CONTENT = "containerd.services.content.v1.Content";
/** Documents that are read at the same time. */
const PARALLEL = 8;

/** An image as the daemon has it on record. */
export type ImageMessage = NonNullable<ResponseOf<typeof IMAGES, "List">["images"][number]>;

/** A record with its fields filled in. */
export interface ImageRecord {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly target: { readonly mediaType: string; readonly digest: string; readonly size: number };
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** One platform of an image, as far as it is there. */
export interface ImagePart {
  readonly manifestDigest: string;
  readonly manifest: Manifest;
  readonly platform: Platform;
  readonly configDigest: string;
  readonly config: ImageConfig;
  /** The whole configuration. */
  readonly document: Readonly<Record<string, unknown>>;
}

/** An image with what is there of it. */
export interface ImageDetails extends ImageRecord {
  /** The platforms whose manifest and configuration are there, the machine's own first. */
  readonly parts: readonly ImagePart[];
  /** Bytes of its blobs that are there. */
  readonly size: number;
  /** The blobs that are there: digest and bytes. */
  readonly blobs: ReadonlyMap<string, number>;
  readonly isPinned: boolean;
}

type Time = { readonly seconds?: unknown; readonly nanos?: number | null } | null | undefined;

/** The moment that a message has. An absent one is the epoch. */
export function dateOf(time: Time): Date {
  return new Date(Number(time?.seconds ?? 0) * 1000 + Math.floor((time?.nanos ?? 0) / 1e6));
}

function recordOf({ name, labels, target, createdAt, updatedAt }: ImageMessage): ImageRecord {
  const { mediaType, digest, size } = target ?? {};
  return {
    name: name ?? "",
    labels: { ...labels },
    target: { mediaType: mediaType ?? "", digest: digest ?? "", size: Number(size ?? 0) },
    createdAt: dateOf(createdAt),
    updatedAt: dateOf(updatedAt),
  };
}

/** All images of a namespace. @throws CallError */
export async function listImages(api: Api, namespace: string): Promise<ImageRecord[]> {
  const { images } = await api.call(IMAGES, "List", { filters: [] }, { namespace });
  return images.map((image) => recordOf(image as ImageMessage)).sort((a, b) => (a.name < b.name ? -1 : 1));
}

/**
 * The full name of what a person calls an image: `alpine` is `docker.io/library/alpine:latest`.
 * @throws ContainerdError InvalidArgument
 */
export function fullName(name: string): string {
  try {
    return normalizeDockerName(name);
  } catch (error) {
    throw invalidArgument(`${JSON.stringify(name)} is no name of an image: ${(error as Error).message}`);
  }
}

/** A name in the two columns of a list; what is not in Docker's grammar is all repository. */
export function splitName(name: string): { repository: string; tag: string } {
  try {
    const { domain, path, tag, digest } = parseDockerName(name);
    return { repository: `${domain}/${path}`, tag: tag || (digest === "" ? "latest" : "<none>") };
  } catch {
    return { repository: name, tag: "<none>" };
  }
}

/**
 * The images that a person may mean: those of the name as it stands, of the full name, or all whose digest begins so.
 * @throws ContainerdError NotFound; FailedPrecondition when the beginning fits images with different digests
 */
export async function findImages(api: Api, namespace: string, name: string): Promise<ImageRecord[]> {
  const images = await listImages(api, namespace);
  for (const wanted of [name, tryFullName(name)]) {
    const found = images.filter((image) => image.name === wanted);
    if (found.length > 0) return found;
  }
  const hex = name.replace(/^sha256:/, "");
  if (/^[0-9a-f]{4,64}$/.test(hex)) {
    const found = images.filter(({ target }) => target.digest.startsWith(`sha256:${hex}`));
    if (new Set(found.map(({ target }) => target.digest)).size > 1) {
      const digests = [...new Set(found.map(({ target }) => target.digest.slice(0, 19 + hex.length)))];
      throw failedPrecondition(`${name} may be ${digests.join(" or ")}: give more of the id`);
    }
    if (found.length > 0) return found;
    const byConfig = await findByConfig(api, namespace, images, hex);
    if (byConfig.length > 0) return byConfig;
  }
  throw notFound(`there is no image ${JSON.stringify(name)}: berth images lists them, berth pull ${name} fetches one`);
}

/** Docker's ids of images are digests of their configurations. */
async function findByConfig(
  api: Api,
  namespace: string,
  images: readonly ImageRecord[],
  hex: string,
): Promise<ImageRecord[]> {
  const details = await detailsOf(api, namespace, images);
  return details.filter(({ parts }) => parts.some(({ configDigest }) => configDigest.startsWith(`sha256:${hex}`)));
}

/** {@link fullName}; undefined for what is no name. */
export function tryFullName(name: string): string | undefined {
  try {
    return normalizeDockerName(name);
  } catch {
    return undefined;
  }
}

/** The first of {@link findImages}. @throws ContainerdError */
export async function findImage(api: Api, namespace: string, name: string): Promise<ImageRecord> {
  const [image] = await findImages(api, namespace, name);
  if (image === undefined) throw notFound(`there is no image ${JSON.stringify(name)}`);
  return image;
}

/** Sizes of all blobs of a namespace, by digest. @throws CallError */
export async function blobSizes(api: Api, namespace: string): Promise<Map<string, number>> {
  const sizes = new Map<string, number>();
  for await (const { info } of api.stream(CONTENT, "List", { filters: [] }, { namespace })) {
    for (const { digest, size } of info) sizes.set(digest ?? "", Number(size ?? 0));
  }
  return sizes;
}

/** What is there of images. Documents that cannot be read count as missing. @throws CallError */
export async function detailsOf(
  api: Api,
  namespace: string,
  images: readonly ImageRecord[],
  sizes?: ReadonlyMap<string, number>,
): Promise<ImageDetails[]> {
  const known = sizes ?? (await blobSizes(api, namespace));
  const documents = new Map<string, Promise<Uint8Array | undefined>>();
  const read = (digest: string): Promise<Uint8Array | undefined> => {
    let document = documents.get(digest);
    if (document === undefined) {
      document = readDocument(api, namespace, digest).catch((error: unknown) => {
        if (error instanceof ContainerdError && error.code === Code.Unavailable) throw error;
        return undefined;
      });
      documents.set(digest, document);
    }
    return document;
  };
  const found: ImageDetails[] = [];
  const waiting = images.entries();
  const work = async (): Promise<void> => {
    for (const [index, image] of waiting) found[index] = await details(image, known, read);
  };
  await Promise.all(Array.from({ length: Math.min(PARALLEL, images.length) }, work));
  return found;
}

type Read = (digest: string) => Promise<Uint8Array | undefined>;

async function details(image: ImageRecord, sizes: ReadonlyMap<string, number>, read: Read): Promise<ImageDetails> {
  const blobs = new Map<string, number>();
  const parts: ImagePart[] = [];
  const visit = async (descriptor: Descriptor, depth: number): Promise<void> => {
    const size = sizes.get(descriptor.digest);
    if (size === undefined || blobs.has(descriptor.digest)) return;
    blobs.set(descriptor.digest, size);
    // An index of indexes is unusual, and one without an end is an attack.
    if (isIndex(descriptor.mediaType) && depth < 3) {
      for (const child of childrenOf(await read(descriptor.digest), descriptor)) await visit(child, depth + 1);
    } else if (isManifest(descriptor.mediaType)) {
      const part = await partOf(descriptor, read);
      if (part === undefined) return;
      for (const { digest } of [part.manifest.config, ...part.manifest.layers]) {
        const bytes = sizes.get(digest);
        if (bytes !== undefined) blobs.set(digest, bytes);
      }
      // Attestations and the like are manifests too, but nothing that runs.
      if (isConfig(part.manifest.config.mediaType) && part.platform.os !== "unknown") parts.push(part);
    }
  };
  await visit(image.target, 0);
  const host = runnable(hostPlatform());
  parts.sort((a, b) => host.compare(a.platform, b.platform));
  let size = 0;
  for (const bytes of blobs.values()) size += bytes;
  return { ...image, parts, size, blobs, isPinned: image.labels["io.cri-containerd.pinned"] === "pinned" };
}

function childrenOf(bytes: Uint8Array | undefined, descriptor: Descriptor): readonly Descriptor[] {
  try {
    return bytes === undefined ? [] : parseIndex(bytes, descriptor);
  } catch {
    return [];
  }
}

async function partOf(descriptor: Descriptor, read: Read): Promise<ImagePart | undefined> {
  const bytes = await read(descriptor.digest);
  if (bytes === undefined) return undefined;
  try {
    const manifest = parseManifest(bytes, descriptor);
    const { digest } = manifest.config;
    const text = (await read(digest)) ?? Buffer.from("{}");
    const config = parseConfig(text, digest);
    const document = JSON.parse(new TextDecoder().decode(text)) as Readonly<Record<string, unknown>>;
    return {
      manifestDigest: descriptor.digest,
      manifest,
      platform: config.platform,
      configDigest: digest,
      config,
      document,
    };
  } catch {
    return undefined;
  }
}

/** The part of an image that this machine runs best; undefined when none of it fits. */
export function partForHost({ parts }: ImageDetails): ImagePart | undefined {
  const host = runnable(hostPlatform());
  return parts.find(({ platform }) => host.matches(platform));
}

/** Reads a platform such as `linux/arm64/v8`. @throws ContainerdError InvalidArgument */
export function parsePlatform(text: string): Platform {
  const [os = "", architecture = "", variant = "", ...rest] = text.toLowerCase().split("/");
  const isWord = /^[a-z0-9_.]+$/;
  if (
    rest.length > 0 ||
    !isWord.test(os) ||
    (architecture !== "" && !isWord.test(architecture)) ||
    !/^[a-z0-9_.]*$/.test(variant)
  ) {
    throw invalidArgument(
      `${JSON.stringify(text)} is no platform: write it as OS/ARCHITECTURE[/VARIANT], such as linux/arm64`,
    );
  }
  // A word alone is an architecture, unless it is a system.
  if (architecture === "") {
    const isSystem = ["linux", "windows", "darwin", "freebsd"].includes(os);
    const { os: hostOs, architecture: hostArchitecture } = hostPlatform();
    return isSystem ? { os, architecture: hostArchitecture } : { os: hostOs, architecture: os };
  }
  return { os, architecture, ...(variant === "" ? {} : { variant }) };
}
