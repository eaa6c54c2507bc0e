/** Descriptors of OCI: what a blob is, and which. */

import { invalidArgument } from "../../proto/errdefs.ts";
import { digestProblem } from "../store/digest.ts";
import { isIndex, isKnownConfig, isLayer, isManifest } from "./mediatype.ts";
import type { Platform } from "./platform.ts";

/** A blob by digest, with what is known of it before it is there. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  /** Bytes. */
  readonly size: number;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  readonly platform?: Platform | undefined;
  /** Places to fetch it from before the registry is asked. */
  readonly urls?: readonly string[] | undefined;
  /** The blob itself, in base64. */
  readonly data?: string | undefined;
  readonly artifactType?: string | undefined;
}

/** True for a digest of an algorithm that is known, written in lower-case hexadecimal. */
export function isDigest(text: string): boolean {
  return digestProblem(text) === undefined;
}

/** The digest of bytes. */
export function digestOf(bytes: Uint8Array | string): string {
  return `sha256:${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}`;
}

type Json = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function stringsOf(value: unknown): string[] | undefined {
  return Array.isArray(value) && value.every((item) => typeof item === "string") ? value : undefined;
}

/** Strings by key; entries of another type are left out. */
export function recordOf(value: unknown): Record<string, string> | undefined {
  if (!isObject(value)) return undefined;
  return Object.fromEntries(
    Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === "string"),
  );
}

/**
 * Reads a descriptor from JSON.
 * @param where names the place in the error
 * @throws ContainerdError InvalidArgument when digest or size is missing or wrong
 */
export function parseDescriptor(value: unknown, where: string): Descriptor {
  if (!isObject(value)) throw invalidArgument(`${where} is no descriptor: invalid argument`);
  const { mediaType, digest, size, annotations, platform, urls, data, artifactType } = value;
  if (typeof digest !== "string" || !isDigest(digest)) {
    throw invalidArgument(
      `${where} has an invalid digest ${JSON.stringify(String(digest).slice(0, 100))}: invalid argument`,
    );
  }
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) {
    throw invalidArgument(`${where} (${digest}) has an invalid size: invalid argument`);
  }
  return {
    mediaType: typeof mediaType === "string" ? mediaType : "",
    digest,
    size,
    annotations: recordOf(annotations),
    platform: parsePlatformObject(platform),
    urls: stringsOf(urls),
    data: typeof data === "string" ? data : undefined,
    artifactType: typeof artifactType === "string" ? artifactType : undefined,
  };
}

/** A platform from JSON, as descriptors and image configurations have it. */
export function parsePlatformObject(value: unknown): Platform | undefined {
  if (!isObject(value)) return undefined;
  const text = (name: string): string => (typeof value[name] === "string" ? value[name] : "");
  return {
    os: text("os"),
    architecture: text("architecture"),
    variant: text("variant"),
    osVersion: text("os.version"),
    osFeatures: stringsOf(value["os.features"]) ?? [],
  };
}

function platformJson(platform: Platform): Json {
  const { os, architecture, variant, osVersion, osFeatures } = platform;
  return {
    architecture,
    os,
    ...(osVersion ? { "os.version": osVersion } : {}),
    ...(osFeatures?.length ? { "os.features": osFeatures } : {}),
    ...(variant ? { variant } : {}),
  };
}

/** Keys in order, so that equal maps give equal JSON. */
function sorted(map: Readonly<Record<string, string>>): Json {
  return Object.fromEntries(Object.entries(map).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** A descriptor for JSON, with its fields in the order in which containerd writes them. */
export function descriptorJson(descriptor: Descriptor): Json {
  const { mediaType, digest, size, annotations, platform, urls, data, artifactType } = descriptor;
  return {
    mediaType,
    digest,
    size,
    ...(urls?.length ? { urls } : {}),
    ...(annotations && Object.keys(annotations).length > 0 ? { annotations: sorted(annotations) } : {}),
    ...(data ? { data } : {}),
    ...(platform ? { platform: platformJson(platform) } : {}),
    ...(artifactType ? { artifactType } : {}),
  };
}

/** JSON as Go writes it: the characters of HTML are escaped. */
export function encodeJson(value: unknown): Uint8Array {
  const escaped = JSON.stringify(value).replace(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return new TextEncoder().encode(escaped);
}

/** The key under which a blob is fetched, pushed and reported (core/remotes/handlers.go). */
export function refKey({ mediaType, digest, annotations }: Descriptor): string {
  const name = annotations?.["org.opencontainers.image.ref.name"];
  const key = name === undefined ? digest : `${name}@${digest}`;
  if (isManifest(mediaType)) return `manifest-${key}`;
  if (isIndex(mediaType)) return `index-${key}`;
  if (isLayer(mediaType)) return `layer-${key}`;
  return isKnownConfig(mediaType) ? `config-${key}` : `unknown-${key}`;
}

/** The label, without its number, by which a blob keeps a child of this type from the garbage collector. */
export function gcLabel(mediaType: string): string {
  if (isKnownConfig(mediaType)) return "containerd.io/gc.ref.content.config";
  if (isManifest(mediaType)) return "containerd.io/gc.ref.content.m.";
  return isLayer(mediaType) ? "containerd.io/gc.ref.content.l." : "containerd.io/gc.ref.content.";
}

/**
 * The labels by which a blob keeps its children. Several of one type are numbered; the first config is not.
 */
export function childLabels(children: readonly Descriptor[]): Record<string, string> {
  const counts = new Map<string, number>();
  const labels: Record<string, string> = {};
  for (const { mediaType, digest } of children) {
    const label = gcLabel(mediaType);
    const index = counts.get(label) ?? 0;
    counts.set(label, index + 1);
    labels[index > 0 || label.endsWith(".") ? `${label}${index}` : label] = digest;
  }
  return labels;
}
