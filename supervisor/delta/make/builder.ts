/** Makes a delta of two images: the artifact's blobs, in files. */

import { statSync, writeFileSync } from "node:fs";
import { failedPrecondition } from "../../../proto/errdefs.ts";
import { type Descriptor, descriptorJson, digestOf, encodeJson } from "../../image/descriptor.ts";
import { mediaTypes } from "../../image/mediatype.ts";
import { type DeltaDocument, deltaTypes, documentJson, type LayerSource, type NewLayer } from "../document.ts";
import type { DeltaImage } from "./images.ts";
import { type OldFile, patchOf, recipeOf } from "./layer.ts";
import type { Unpacked, WorkDirectory } from "./work.ts";

/** A patch has to be shorter than this part of its layer. */
const WORTHWHILE = 0.9;

/** A blob in a file. */
export interface FileBlob extends Descriptor {
  readonly path: string;
}

/** What became of a layer, for people. */
export interface LayerReport {
  readonly digest: string;
  /** Bytes of the layer, and of what the delta has of it. */
  readonly size: number;
  readonly delta: number;
  readonly kind: "old" | "whole" | "patch";
  /** False when the layer will not be compressed as it was. */
  readonly isExact: boolean;
}

/** A delta. */
export interface BuiltDelta {
  readonly document: DeltaDocument;
  readonly manifest: FileBlob;
  /** All the rest of it. */
  readonly blobs: readonly FileBlob[];
  readonly layers: readonly LayerReport[];
}

/** @throws ContainerdError FailedPrecondition when both are one image */
export async function buildDelta(
  work: WorkDirectory,
  old: DeltaImage,
  fresh: DeltaImage,
  onLayer: (report: LayerReport) => void = () => undefined,
): Promise<BuiltDelta> {
  if (old.original === fresh.original) {
    throw failedPrecondition(`${old.name} and ${fresh.name} are the same image (${fresh.original}): there is no delta`);
  }
  const builder = new Builder(work, old, fresh);
  for (const [index, layer] of fresh.parts.layers.entries()) {
    await builder.add(layer, fresh.config.diffIds[index] ?? "", onLayer);
  }
  return builder.end();
}

class Builder {
  readonly #work: WorkDirectory;
  readonly #old: DeltaImage;
  readonly #fresh: DeltaImage;
  readonly #layers: NewLayer[] = [];
  readonly #reports: LayerReport[] = [];
  readonly #blobs = new Map<string, FileBlob>();
  /** Layers of the old image that the new one has not, uncompressed. */
  #gone: readonly OldFile[] | undefined;

  constructor(work: WorkDirectory, old: DeltaImage, fresh: DeltaImage) {
    this.#work = work;
    this.#old = old;
    this.#fresh = fresh;
  }

  async add(layer: Descriptor, diffId: string, onLayer: (report: LayerReport) => void): Promise<void> {
    const { digest, size } = layer;
    let unpacked: Unpacked | undefined;
    let source: LayerSource = { kind: "old" };
    let isExact = true;
    let delta = 0;
    if (!this.#old.parts.layers.some((known) => known.digest === digest)) {
      const path = await this.#fresh.blobs.file(digest);
      unpacked = this.#work.unpack(path);
      if (unpacked.diffId !== diffId)
        throw failedPrecondition(`layer ${digest} is not ${diffId}, but ${unpacked.diffId}`);
      this.#gone ??= await this.#unpackGone();
      const patch = patchOf(this.#work, this.#gone, unpacked);
      if (patch.size < WORTHWHILE * size) {
        const recipe = recipeOf({ path, digest }, unpacked);
        const descriptor = { mediaType: deltaTypes.patch, digest: patch.digest, size: patch.size };
        this.#blobs.set(patch.digest, { ...descriptor, path: patch.path });
        const used = patch.bases.map((base) => ({ digest: base.digest, diffId: base.diffId, bytes: base.bytes }));
        source = { kind: "patch", patch: descriptor, bases: used, recipe };
        isExact = recipe !== undefined;
        delta = patch.size;
      } else {
        source = { kind: "whole" };
        delta = size;
        this.#blobs.set(digest, { mediaType: deltaTypes.layer, digest, size, path });
      }
    }
    // Of a layer that both have, nothing is made.
    const bytes = unpacked?.bytes ?? 0;
    this.#layers.push({ digest, diffId, bytes, size, source });
    const report = { digest, size, delta, kind: source.kind, isExact };
    this.#reports.push(report);
    onLayer(report);
  }

  /** The old layers that a patch may be made of: those that the new image has not, or all where it has all. */
  async #unpackGone(): Promise<readonly OldFile[]> {
    const { parts, config, blobs } = this.#old;
    const kept = new Set(this.#fresh.parts.layers.map(({ digest }) => digest));
    const gone = parts.layers.filter(({ digest }) => !kept.has(digest));
    const files: OldFile[] = [];
    for (const { digest } of gone.length > 0 ? gone : parts.layers) {
      const { path, bytes, diffId } = this.#work.unpack(await blobs.file(digest));
      const index = parts.layers.findIndex((layer) => layer.digest === digest);
      if (config.diffIds[index] !== diffId) throw failedPrecondition(`layer ${digest} is not ${config.diffIds[index]}`);
      files.push({ digest, diffId, bytes, path });
    }
    return files;
  }

  async end(): Promise<BuiltDelta> {
    const { name, target, manifest, parts, blobs } = this.#fresh;
    const document: DeltaDocument = {
      old: { name: this.#old.name, manifest: this.#old.original },
      new: { name, target, manifest },
      layers: this.#layers,
    };
    for (const { digest, size } of [target, manifest, parts.config]) {
      this.#blobs.set(digest, { mediaType: deltaTypes.document, digest, size, path: await blobs.file(digest) });
    }
    const config = this.#write(documentJson(document), deltaTypes.config);
    const layers = [...this.#blobs.values()].map(descriptorJson);
    const made = {
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      artifactType: deltaTypes.artifact,
      config: descriptorJson(config),
      layers,
      annotations: { "berth/delta.old": this.#old.original, "berth/delta.new": manifest.digest },
    };
    const own = { ...this.#write(made, mediaTypes.ociManifest), artifactType: deltaTypes.artifact };
    return { document, manifest: own, blobs: [config, ...this.#blobs.values()], layers: this.#reports };
  }

  #write(value: unknown, mediaType: string): FileBlob {
    const bytes = encodeJson(value);
    const path = this.#work.fresh();
    writeFileSync(path, bytes);
    return { mediaType, digest: digestOf(bytes), size: bytes.length, path };
  }
}

/** Bytes of a delta. */
export function sizeOfDelta({ manifest, blobs }: BuiltDelta): number {
  return blobs.reduce((sum, { path }) => sum + statSync(path).size, manifest.size);
}
