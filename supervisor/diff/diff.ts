/** Layers to file systems and back. Nothing of a layer is read in the daemon: each is worked on by a process. */

import { mkdirSync } from "node:fs";
import { ContainerdError, invalidArgument, notImplemented, unknown } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import type { Mount } from "../../shim/linux/index.ts";
import type { ContentWriter } from "../content/writer.ts";
import { run, stream } from "./child.ts";
import { type Compression, compressionOf, LAYER_TAR } from "./compression.ts";
import { defaultLimits, type Limits } from "./limits.ts";
import type { Applied, ApplyRequest, Compared, CompareRequest } from "./request.ts";

/** What a blob is. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

/** How to apply a layer. */
export interface ApplyOptions {
  /** Path of the blob's file. */
  readonly blobPath: string;
  readonly signal?: AbortSignal | undefined;
  /** Write the file system out before the answer. Not needed before a commit, which does it beside its own work. */
  readonly syncFs?: boolean | undefined;
}

/** How to write a layer. */
export interface CompareOptions {
  /** Media type of the layer; empty: compressed by gzip. */
  readonly mediaType: string;
  /** Opens the ingest that the layer is written to. */
  readonly open: () => Promise<LayerBlob>;
  /** Gives labels to a blob that was there already. */
  readonly label?: (digest: string, labels: Readonly<Record<string, string>>) => Promise<void>;
  /** Labels of the blob. */
  readonly labels: Readonly<Record<string, string>>;
  /** No time in the layer is after this one, in seconds since the epoch. */
  readonly latest?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A blob that is being written. */
export type LayerBlob = Pick<ContentWriter, "offset" | "digest" | "write" | "truncate" | "commit" | "close">;

/** Media types of layers that can be made. */
const made = new Map<string, Compression>([
  [LAYER_TAR, "none"],
  [`${LAYER_TAR}+gzip`, "gzip"],
  [`${LAYER_TAR}+zstd`, "zstd"],
]);

/** How this room is set up. */
export interface DiffOptions {
  /** An empty directory: layer processes mount on it, each for itself alone. */
  readonly mountPoint: string;
  readonly limits?: Partial<Limits> | undefined;
}

/** Applies and makes layers. */
export class Diff {
  readonly #mountPoint: string;
  readonly #limits: Limits;

  /** Makes the mount point when it is missing. */
  constructor(options: DiffOptions) {
    this.#mountPoint = options.mountPoint;
    mkdirSync(options.mountPoint, { recursive: true, mode: 0o700 });
    this.#limits = { ...defaultLimits, ...options.limits };
  }

  /**
   * Applies a layer to what the mounts show. A process of its own does it; it ends with the signal and with the daemon.
   * @returns the uncompressed layer
   * @throws ContainerdError InvalidArgument for a layer that is refused, ResourceExhausted for one that asks for too much
   * or a full disk, Canceled; then what was written of it stays, as the unfinished snapshot that it is
   */
  async apply(layer: Descriptor, mounts: readonly Mount[], options: ApplyOptions): Promise<Descriptor> {
    const compression = compressionOf(layer.mediaType);
    if (compression === undefined) {
      // Stream processors are programs of containerd's configuration, such as for encrypted layers: there are none here.
      throw unknown(`failed to get stream processor for ${layer.mediaType}: no processor for media-type`);
    }
    if (mounts.length === 0) throw invalidArgument("no mounts to apply the layer to: invalid argument");
    const request: ApplyRequest = {
      parent: process.pid,
      blob: options.blobPath,
      compression,
      mounts,
      mountPoint: this.#mountPoint,
      sync: options.syncFs ?? false,
      limits: this.#limits,
    };
    const applied = await run<Applied>("apply", request, options.signal);
    return { mediaType: LAYER_TAR, digest: applied.digest, size: applied.size };
  }

  /**
   * Writes the layer that leads from `lower` to `upper` into a blob. A process of its own does it.
   * @returns the blob, which is committed
   * @throws ContainerdError Unimplemented for a media type that is not made here, Canceled, and what the content store
   * throws; then there is no blob, and no ingest that this made
   */
  async compare(lower: readonly Mount[], upper: readonly Mount[], options: CompareOptions): Promise<Descriptor> {
    const mediaType = options.mediaType || `${LAYER_TAR}+gzip`;
    const compression = made.get(mediaType);
    if (compression === undefined) throw notImplemented(`unsupported diff media type: ${mediaType}: not implemented`);
    const request: CompareRequest = {
      parent: process.pid,
      lower,
      upper,
      mountPoint: this.#mountPoint,
      compression,
      ...(options.latest === undefined ? {} : { latest: options.latest }),
    };
    const writer = await options.open();
    try {
      // What another comparison of that name left is of no use: none comes out the same.
      if (writer.offset > 0) await writer.truncate(0);
      const { digest } = await stream<Compared>("compare", request, writer, options.signal);
      const size = writer.offset;
      const blob = writer.digest();
      const uncompressed = { "containerd.io/uncompressed": digest };
      const labels = compression === "none" ? options.labels : { ...options.labels, ...uncompressed };
      await writer.commit({ labels }).catch(async (error: unknown) => {
        if (!(error instanceof ContainerdError && error.code === Code.AlreadyExists)) throw error;
        if (compression !== "none") await options.label?.(blob, uncompressed);
      });
      return { mediaType, digest: blob, size };
    } catch (error) {
      await writer.close();
      throw error;
    }
  }
}
