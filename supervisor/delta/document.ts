/**
 * What a delta is: an OCI artifact that makes one image of another. Its manifest has, as `layers`, the documents of the
 * new image (under types of its own, so that nobody takes them for parts of the artifact), patches, and layers that no
 * patch would be shorter than; its configuration says how they go together.
 */

import { invalidArgument, messageOf } from "../../proto/errdefs.ts";
import { DELTA_TYPE } from "../image/delta.ts";
import { type Descriptor, descriptorJson, isDigest, parseDescriptor } from "../image/descriptor.ts";
import { parseManifest, readBlob } from "../image/manifest.ts";
import type { Blobs } from "../image/stores.ts";
import { parseRecipe, type Recipe } from "./recipe.ts";

/** Types of what a delta is made of. */
export const deltaTypes = {
  artifact: DELTA_TYPE,
  config: "application/vnd.berth.delta.config.v1+json",
  /** The manifest, the index and the configuration of the new image, as they are. */
  document: "application/vnd.berth.delta.document.v1+json",
  patch: "application/vnd.berth.delta.patch.v1",
  /** A whole layer, as it is. */
  layer: "application/vnd.berth.delta.layer.v1",
} as const;

/** Annotation of a manifest whose layers could not be compressed as they were: the digest of the original. */
export const ORIGINAL = "berth/delta.manifest";

const VERSION = 1;
const MAX_LAYERS = 4096;
const MAX_BASES = 64;

/** A layer of the old image. */
export interface OldLayer {
  readonly digest: string;
  /** Digest and bytes of the layer, uncompressed. */
  readonly diffId: string;
  readonly bytes: number;
}

/** Where a layer of the new image comes from. */
export type LayerSource =
  /** It is one of the old image. */
  | { readonly kind: "old" }
  /** It is in the delta. */
  | { readonly kind: "whole" }
  | {
      readonly kind: "patch";
      readonly patch: Descriptor;
      /** What the patch is about, one after another. */
      readonly bases: readonly OldLayer[];
      /** How to compress what comes out; undefined where that is not known. */
      readonly recipe: Recipe | undefined;
    };

/** A layer of the new image. */
export interface NewLayer extends OldLayer {
  /** Bytes of the layer as the new image has it. */
  readonly size: number;
  readonly source: LayerSource;
}

/** The configuration of a delta. */
export interface DeltaDocument {
  readonly old: { readonly name: string; readonly manifest: string };
  readonly new: {
    readonly name: string;
    /** What the name stands for: the manifest, or an index with it. */
    readonly target: Descriptor;
    readonly manifest: Descriptor;
  };
  /** Those of the new image, lowest first. */
  readonly layers: readonly NewLayer[];
}

/** The tag of a delta in the repository of its images. @param digests of the manifests */
export function deltaTag(old: string, fresh: string): string {
  return `delta-${hexOf(old)}-${hexOf(fresh)}`;
}

function hexOf(digest: string): string {
  return digest.replace(/^[a-z0-9]+:/, "").slice(0, 12);
}

/** The document as JSON. */
export function documentJson(document: DeltaDocument): unknown {
  const { old, new: fresh, layers } = document;
  return {
    version: VERSION,
    old,
    new: { name: fresh.name, target: descriptorJson(fresh.target), manifest: descriptorJson(fresh.manifest) },
    layers: layers.map(({ source, ...layer }) => ({
      ...layer,
      source: source.kind === "patch" ? { ...source, patch: descriptorJson(source.patch) } : source,
    })),
  };
}

type Json = Readonly<Record<string, unknown>>;

function refused(why: string): Error {
  return invalidArgument(`the delta is refused: ${why}: invalid argument`);
}

function objectOf(value: unknown, what: string): Json {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw refused(`${what} is no object`);
  return value as Json;
}

function listOf(value: unknown, most: number, what: string): readonly unknown[] {
  if (!Array.isArray(value)) throw refused(`${what} is no list`);
  if (value.length > most) throw refused(`${what} has ${value.length} entries, ${most} are allowed`);
  return value;
}

function textOf(value: unknown, what: string): string {
  if (typeof value !== "string" || value.length > 4096) throw refused(`${what} is no text`);
  return value;
}

function digestIn(value: unknown, what: string): string {
  // Of what is made here, the digest is computed: by the one algorithm.
  if (typeof value !== "string" || !isDigest(value) || !value.startsWith("sha256:"))
    throw refused(`${what} is no digest`);
  return value;
}

function bytesOf(value: unknown, what: string): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0) throw refused(`${what} is no number of bytes`);
  return value as number;
}

function oldLayer(value: unknown, what: string): OldLayer {
  const { digest, diffId, bytes } = objectOf(value, what);
  return {
    digest: digestIn(digest, `the digest of ${what}`),
    diffId: digestIn(diffId, `the diff id of ${what}`),
    bytes: bytesOf(bytes, `the size of ${what}`),
  };
}

function sourceOf(value: unknown, what: string): LayerSource {
  const { kind, patch, bases, recipe } = objectOf(value, `the source of ${what}`);
  if (kind === "old" || kind === "whole") return { kind };
  if (kind !== "patch") throw refused(`${what} has no source that is known here`);
  return {
    kind,
    patch: parseDescriptor(patch, `the patch of ${what}`),
    bases: listOf(bases, MAX_BASES, `the list of old layers of ${what}`).map((base, index) =>
      oldLayer(base, `old layer ${index} of ${what}`),
    ),
    recipe: recipe === undefined || recipe === null ? undefined : parseRecipe(recipe, what),
  };
}

/** @throws ContainerdError InvalidArgument for what is no document of a delta */
export function parseDocument(bytes: Uint8Array): DeltaDocument {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    throw refused(messageOf(error));
  }
  const { version, old, new: fresh, layers } = objectOf(json, "its configuration");
  if (version !== VERSION) throw refused(`its version is ${JSON.stringify(version)}, ${VERSION} is known here`);
  const [before, after] = [objectOf(old, "the old image"), objectOf(fresh, "the new image")];
  return {
    old: {
      name: textOf(before["name"], "the name of the old image"),
      manifest: digestIn(before["manifest"], "the manifest of the old image"),
    },
    new: {
      name: textOf(after["name"], "the name of the new image"),
      target: parseDescriptor(after["target"], "the target of the new image"),
      manifest: parseDescriptor(after["manifest"], "the manifest of the new image"),
    },
    layers: listOf(layers, MAX_LAYERS, "the list of layers").map((layer, index) => ({
      ...oldLayer(layer, `layer ${index}`),
      size: bytesOf(objectOf(layer, `layer ${index}`)["size"], `the compressed size of layer ${index}`),
      source: sourceOf(objectOf(layer, `layer ${index}`)["source"], `layer ${index}`),
    })),
  };
}

/**
 * The manifest of a delta; its configuration need not be there yet.
 * @throws ContainerdError InvalidArgument when it is none
 */
export async function readDeltaManifest(
  blobs: Blobs,
  descriptor: Descriptor,
): Promise<{ config: Descriptor; blobs: readonly Descriptor[] }> {
  const { config, layers } = parseManifest(await readBlob(blobs, descriptor), descriptor);
  if (config.mediaType !== deltaTypes.config) throw refused(`its configuration is of type ${config.mediaType}`);
  return { config, blobs: layers };
}
