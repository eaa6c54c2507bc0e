/**
 * Makes the new image of a delta from what is here: every blob of it is there when this resolves, checked by its digest
 * and on disk. Whatever the delta says is checked against the manifest and the configuration of the new image, which
 * their digests vouch for.
 */

import { ContainerdError, failedPrecondition, invalidArgument } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import { stream } from "../diff/child.ts";
import { LAYER_TAR } from "../diff/compression.ts";
import { type Descriptor, descriptorJson, digestOf, encodeJson } from "../image/descriptor.ts";
import { ingestBytes, openWriter } from "../image/ingest.ts";
import { type Manifest, parseConfig, parseIndex, parseManifest, readBlob } from "../image/manifest.ts";
import { isIndex, mediaTypes } from "../image/mediatype.ts";
import type { BlobInfo, Blobs } from "../image/stores.ts";
import { codeOf } from "../image/unpack.ts";
import { type DeltaDocument, type NewLayer, type OldLayer, ORIGINAL } from "./document.ts";
import type { Recipe } from "./recipe.ts";
import type { BaseFile, Patched, PatchRequest } from "./request.ts";

const UNCOMPRESSED = "containerd.io/uncompressed";

/** What an image is restored with. */
export interface RestoreOptions {
  readonly blobs: Blobs;
  readonly signal: AbortSignal;
  /** A directory for files that have no name. */
  readonly temporary: string;
  /** Most bytes of an uncompressed layer. */
  readonly maxBytes: number;
  /** True where the caller brings what the images have in common and is not here: unpacked layers often are not. */
  readonly leavesCommon?: boolean;
  /** Told of each layer before it is made. */
  readonly onLayer?: (layer: NewLayer) => void;
}

/** A layer as it is here now. */
interface Restored {
  readonly digest: string;
  readonly size: number;
  /** False when it is not compressed as the new image has it. */
  readonly isOriginal: boolean;
}

/**
 * Makes the blobs of the new image.
 * @returns what its name is to stand for: the original, or where a layer could not be compressed as it was, a manifest
 * with the same configuration
 * @throws ContainerdError FailedPrecondition when something of the old image is missing; InvalidArgument for a delta that
 * is not what it says
 */
export async function restoreImage(document: DeltaDocument, options: RestoreOptions): Promise<Descriptor> {
  const { blobs } = options;
  const { target, manifest: descriptor } = document.new;
  const bytes = await readBlob(blobs, descriptor);
  const manifest = parseManifest(bytes, descriptor);
  await check(document, manifest, blobs);
  const layers: Restored[] = [];
  for (const [index, layer] of document.layers.entries()) {
    options.signal.throwIfAborted();
    layers.push(await restoreLayer(document, layer, manifest.layers[index] as Descriptor, options));
  }
  if (layers.every(({ isOriginal }) => isOriginal)) return target;
  return writeManifest(bytes, descriptor, layers, options);
}

/** @throws ContainerdError InvalidArgument when the delta is not about this manifest */
async function check({ new: fresh, layers }: DeltaDocument, manifest: Manifest, blobs: Blobs): Promise<void> {
  const { target, manifest: own } = fresh;
  const { diffIds } = parseConfig(await readBlob(blobs, manifest.config), manifest.config.digest);
  const isSame =
    manifest.layers.length === layers.length &&
    diffIds.length === layers.length &&
    layers.every(({ digest, diffId }, i) => manifest.layers[i]?.digest === digest && diffIds[i] === diffId);
  if (!isSame) throw invalidArgument(`the delta has other layers than manifest ${own.digest}: invalid argument`);
  if (target.digest === own.digest) return;
  const index = isIndex(target.mediaType) ? parseIndex(await readBlob(blobs, target), target) : [];
  if (!index.some(({ digest }) => digest === own.digest)) {
    throw invalidArgument(`${target.digest} has no manifest ${own.digest}: invalid argument`);
  }
}

async function restoreLayer(
  document: DeltaDocument,
  layer: NewLayer,
  { size }: Descriptor,
  options: RestoreOptions,
): Promise<Restored> {
  const { blobs } = options;
  if (await infoOf(blobs, layer.digest)) return { digest: layer.digest, size, isOriginal: true };
  const plain = await infoOf(blobs, layer.diffId);
  if (plain !== undefined) return { digest: layer.diffId, size: plain.size, isOriginal: false };
  if (layer.source.kind === "old" && options.leavesCommon) return { digest: layer.digest, size, isOriginal: true };
  if (layer.source.kind !== "patch") throw missing(document, layer);
  if (layer.bytes > options.maxBytes) {
    throw new ContainerdError(
      Code.ResourceExhausted,
      `layer ${layer.diffId} has ${layer.bytes} bytes, [diff] max_size allows ${options.maxBytes}`,
    );
  }
  options.onLayer?.(layer);
  const { recipe } = layer.source;
  if (recipe !== undefined) {
    try {
      await makeLayer(document, layer, recipe, { digest: layer.digest, size }, options);
      return { digest: layer.digest, size, isOriginal: true };
    } catch (error) {
      // What compresses here does it in another way than where the delta was made.
      if (!(error instanceof OtherBytes)) throw error;
    }
  }
  await makeLayer(document, layer, { kind: "none" }, { digest: layer.diffId, size: layer.bytes }, options);
  return { digest: layer.diffId, size: layer.bytes, isOriginal: false };
}

class OtherBytes extends Error {}

async function makeLayer(
  document: DeltaDocument,
  layer: NewLayer,
  recipe: Recipe,
  expected: { digest: string; size: number },
  { blobs, signal, temporary }: RestoreOptions,
): Promise<void> {
  if (layer.source.kind !== "patch") return;
  const opened: { close(): Promise<void> }[] = [];
  const ref = `delta-${expected.digest}`;
  try {
    const bases: BaseFile[] = [];
    for (const base of layer.source.bases) {
      const found = await findBase(blobs, base);
      if (found === undefined) throw missing(document, base);
      const reader = await blobs.open(found.digest);
      opened.push(reader);
      bases.push({ path: reader.path, bytes: base.bytes });
    }
    const patch = await blobs.open(layer.source.patch.digest);
    opened.push(patch);
    const request: PatchRequest = {
      ...{ parent: process.pid, patch: patch.path, bases, temporary, recipe },
      ...{ bytes: layer.bytes, diffId: layer.diffId },
    };
    const writer = await openWriter(blobs, { ref, total: expected.size, expected: expected.digest }, signal);
    try {
      if (writer.offset > 0) await writer.truncate(0);
      await stream<Patched>("patch", request, writer, signal);
      const labels = recipe.kind === "none" ? {} : { [UNCOMPRESSED]: layer.diffId };
      if (writer.digest() !== expected.digest) throw new OtherBytes(writer.digest());
      await writer.commit({ ...expected, expected: expected.digest, labels });
    } catch (error) {
      if (codeOf(error) === Code.AlreadyExists) return;
      await writer.close();
      await blobs.abort(ref).catch(() => undefined);
      throw error;
    } finally {
      await writer.close();
    }
  } catch (error) {
    if (codeOf(error) !== Code.AlreadyExists) throw error;
  } finally {
    for (const reader of opened) await reader.close();
  }
}

/** A layer of the old image: under its own digest, uncompressed, or compressed in another way. */
async function findBase(blobs: Blobs, { digest, diffId }: OldLayer): Promise<BlobInfo | undefined> {
  return (await infoOf(blobs, diffId)) ?? (await infoOf(blobs, digest)) ?? (await blobs.findUncompressed(diffId));
}

async function infoOf(blobs: Blobs, digest: string): Promise<BlobInfo | undefined> {
  try {
    return await blobs.info(digest);
  } catch (error) {
    if (codeOf(error) !== Code.NotFound) throw error;
    return undefined;
  }
}

function missing({ old, new: fresh }: DeltaDocument, layer: OldLayer): ContainerdError {
  return failedPrecondition(
    `the delta makes ${fresh.name} of ${old.name} (manifest ${old.manifest}), whose layer ${layer.digest} is not here: ` +
      `pull or load that image first: failed precondition`,
  );
}

/** The manifest of the new image with the layers that are here. */
async function writeManifest(
  original: Uint8Array,
  descriptor: Descriptor,
  layers: readonly Restored[],
  { blobs, signal }: RestoreOptions,
): Promise<Descriptor> {
  const document = JSON.parse(new TextDecoder().decode(original)) as {
    layers: Record<string, unknown>[];
    annotations?: Record<string, string>;
  };
  const isDocker = descriptor.mediaType === mediaTypes.dockerManifest;
  const mediaType = isDocker ? mediaTypes.dockerLayer : LAYER_TAR;
  document.layers = document.layers.map((layer, index) => {
    const { digest, size, isOriginal } = layers[index] as Restored;
    return isOriginal ? layer : { ...layer, ...descriptorJson({ mediaType, digest, size }) };
  });
  document.annotations = { ...document.annotations, [ORIGINAL]: descriptor.digest };
  const bytes = encodeJson(document);
  const digest = digestOf(bytes);
  await ingestBytes(blobs, `manifest-${digest}`, bytes, signal);
  return { mediaType: descriptor.mediaType, digest, size: bytes.length, platform: descriptor.platform };
}
