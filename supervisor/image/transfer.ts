/**
 * Transfers of images between registries, archives and the store of images (core/transfer/local). Each is one call of a
 * client; what it makes is kept by a lease until its image is there.
 */

import { invalidArgument } from "../../proto/errdefs.ts";
import type { Diff } from "../diff/diff.ts";
import { exportImages } from "./archive/exporter.ts";
import type { DeltaLoader, DeltaPuller } from "./delta.ts";
import type { Descriptor } from "./descriptor.ts";
import { type FetchOptions, fetchBlob } from "./fetch.ts";
import { type Selection, wantedChildren } from "./filter.ts";
import { importImages } from "./import.ts";
import { KeyedLock, Limiter } from "./lock.ts";
import { childrenOf, schema1 } from "./manifest.ts";
import { mediaTypes } from "./mediatype.ts";
import { type Naming, namesOfTarget, namesToExport } from "./names.ts";
import { everything, hostPlatform, ordered, type Platform } from "./platform.ts";
import { ProgressTracker, type Report } from "./progress.ts";
import type { PullBytes } from "./pull-bytes.ts";
import { PullLeases } from "./pull-lease.ts";
import { pushImage } from "./push.ts";
import type { Registry } from "./registry.ts";
import { save } from "./save.ts";
import { blobsOf, imagesOf, type SessionRooms, snapshotsOf, withLease } from "./session.ts";
import { sourceLabel } from "./source-label.ts";
import type { Applier, Blobs, ImageRecords } from "./stores.ts";
import { Unpacker, wrap } from "./unpack.ts";
import { type Visit, walk } from "./walk.ts";

/** The store of images, as one end of a transfer. */
export interface StoreEnd extends Naming, Selection {
  readonly kind: "store";
  /** Labels of the images that are made. */
  readonly labels: Readonly<Record<string, string>>;
  /** Where to unpack to; an empty snapshotter is the default one. */
  readonly unpacks: readonly { readonly platform: Platform; readonly snapshotter: string }[];
}

/** A registry, as one end of a transfer. */
export interface RegistryEnd {
  readonly kind: "registry";
  readonly registry: Registry;
}

/** An archive that a client sends. */
export interface ImportEnd {
  readonly kind: "import";
  readonly bytes: AsyncIterable<Uint8Array>;
  /** Empty: it may be compressed. */
  readonly mediaType: string;
  readonly compress: boolean;
}

/** An archive that a client takes. */
export interface ExportEnd {
  readonly kind: "export";
  readonly sink: { write(bytes: Uint8Array): Promise<void>; end(): Promise<void>; close(): void };
  readonly platforms: readonly Platform[];
  readonly allPlatforms: boolean;
  readonly skipDockerManifest: boolean;
  readonly skipNonDistributable: boolean;
}

export type End = StoreEnd | RegistryEnd | ImportEnd | ExportEnd;

/** How one transfer is made. */
export interface TransferOptions {
  readonly namespace: string;
  readonly lease: string | undefined;
  readonly signal: AbortSignal;
  readonly report: Report;
}

/** What transfers are made with. */
export interface TransfersParts extends SessionRooms {
  readonly diff: Pick<Diff, "apply">;
  /** The snapshotter for clients that name none. */
  readonly defaultSnapshotter?: string;
  /** Blobs that are fetched or pushed for one transfer at a time. */
  readonly parallel?: number;
  /** What makes images of older ones; none is made where there is nothing. */
  readonly deltas?: DeltaLoader & DeltaPuller;
  readonly bytes?: PullBytes;
}

/** containerd's defaults. */
const DEFAULT_SNAPSHOTTER = "overlayfs";
const PARALLEL = 3;

/** The transfers of one daemon. */
export class Transfers {
  readonly #parts: TransfersParts;
  readonly #locks = new KeyedLock();
  readonly #pullLeases: PullLeases;

  constructor(parts: TransfersParts) {
    this.#parts = parts;
    this.#pullLeases = new PullLeases(parts.leases);
  }

  /**
   * Makes a transfer.
   * @returns false when there is none between such ends
   */
  async transfer(source: End, destination: End, options: TransferOptions): Promise<boolean> {
    if (source.kind === "import" && destination.kind === "export") {
      for await (const bytes of source.bytes) await destination.sink.write(bytes);
      await destination.sink.end();
      return true;
    }
    const run = this.#find(source, destination);
    if (run === undefined) return false;
    const work = async (lease: string): Promise<void> => {
      const scope = { namespace: options.namespace, lease };
      const { content, images } = this.#parts;
      await run({ ...options, lease, blobs: blobsOf(content, scope), images: imagesOf(images, scope) });
    };
    if (source.kind === "registry" && options.lease === undefined) {
      await this.#pullLeases.with(options.namespace, source.registry.reference, work);
    } else {
      await withLease(this.#parts.leases, options, work);
    }
    return true;
  }

  /** How many bytes its pulls have brought. */
  get bytes(): PullBytes | undefined {
    return this.#parts.bytes;
  }

  get #counted(): Pick<FetchOptions, "received" | "resumed"> {
    const { bytes } = this.#parts;
    return { received: (count) => bytes?.pulled("full", count), resumed: (count) => bytes?.saved("resume", count) };
  }

  get #parallel(): number {
    return this.#parts.parallel ?? PARALLEL;
  }

  #find(source: End, destination: End): ((job: Job) => Promise<void>) | undefined {
    if (source.kind === "registry" && destination.kind === "store") {
      return (job) => this.#pull(source.registry, destination, job);
    }
    if (source.kind === "import" && destination.kind === "store")
      return (job) => {
        const walk = (root: Descriptor, visit: Visit) => this.#walk(destination, job, root, () => visit);
        return importImages({ walk, deltas: this.#parts.deltas }, source, destination, job);
      };
    if (source.kind !== "store") return undefined;
    if (destination.kind === "registry")
      return (job) => pushImage(source.name, destination.registry, this.#parallel, job);
    if (destination.kind === "export") return (job) => exportTo(source, destination, job);
    if (destination.kind === "store") {
      return async (job) => {
        const { target } = job.images.get(source.name);
        await save(destination, target, namesOfTarget(destination, target), job);
      };
    }
    return undefined;
  }

  async #pull(registry: Registry, store: StoreEnd, job: Job): Promise<void> {
    const { blobs, signal, report } = job;
    const from = `OCI Registry (${registry.reference})`;
    report({ event: `Resolving from ${from}` });
    const target = await named("failed to resolve image", registry.resolve(signal));
    if (target.mediaType === mediaTypes.dockerSchema1) throw schema1();
    report({ event: `Pulling from ${from}` });
    report({ event: "fetching image content", name: registry.reference });
    const tracker = new ProgressTracker(registry.reference, "downloading", report);
    const children = wantedChildren(blobs, store, async (descriptor) => {
      const found = await childrenOf(blobs, descriptor);
      tracker.addChildren(descriptor, found);
      return found;
    });
    const source = sourceLabel(registry.reference);
    const limiter = new Limiter(this.#parallel);
    try {
      const root = (await this.#parts.deltas?.pull(registry, target, store, job)) ?? target;
      await this.#walk(store, job, root, (signal) => async (descriptor) => {
        tracker.add(descriptor);
        const moved = (bytes: number): void => tracker.moved(descriptor, bytes);
        const options = { signal, moved, ...this.#counted };
        const isNew = await limiter.with(signal, () => fetchBlob(registry, blobs, descriptor, options));
        if (isNew) tracker.complete(descriptor);
        else tracker.exists(descriptor);
        const found = await children(descriptor);
        await source(blobs, descriptor);
        return found;
      });
      const names = namesOfTarget(store, root);
      await save(store, root, names, job);
      for (const name of names) report({ event: "saved", name });
      report({ event: `Completed pull from ${from}` });
    } finally {
      tracker.finish();
    }
  }

  /**
   * Walks an image, unpacking it on the way when the store is to have it unpacked. The first failure ends all of it.
   * @param visitor gives the visitor for a signal that ends it
   */
  async #walk(store: StoreEnd, job: Job, root: Descriptor, visitor: (signal: AbortSignal) => Visit): Promise<void> {
    const failed = new AbortController();
    const signal = AbortSignal.any([job.signal, failed.signal]);
    const visit = visitor(signal);
    const watched: Visit = async (descriptor) => {
      try {
        return await visit(descriptor);
      } catch (error) {
        failed.abort(error);
        throw error;
      }
    };
    const unpacker = this.#unpacker(store, { ...job, signal }, failed);
    try {
      await walk(unpacker?.around(watched) ?? watched, root);
      await unpacker?.done();
    } catch (error) {
      failed.abort(error);
      await unpacker?.stop();
      // What was ended because of a failure fails too; the first one is the cause.
      throw job.signal.aborted ? error : failed.signal.reason;
    }
  }

  /** @throws ContainerdError InvalidArgument when none of the snapshotters is there */
  #unpacker(store: StoreEnd, job: Job, failed: AbortController): Unpacker | undefined {
    if (store.unpacks.length === 0) return undefined;
    const { snapshots, diff } = this.#parts;
    const targets = store.unpacks
      .map((unpack) => unpack.snapshotter || DEFAULT_SNAPSHOTTER)
      .filter((name) => snapshots.names.includes(name))
      // Everything that was chosen is unpacked, as containerd does unless it is told to look at platforms.
      .map((name) => ({ platform: everything, snapshots: snapshotsOf(snapshots, job, name) }));
    if (targets.length === 0) {
      throw invalidArgument("unable to initialize unpacker: no unpack platforms defined: invalid argument");
    }
    const applier: Applier = {
      // Layers come to disk while the next ones are unpacked; the unpacker waits for them at the end.
      apply: (layer, mounts, { blob, signal }) => diff.apply(layer, mounts, { blobPath: blob, signal }),
    };
    const { blobs, signal } = job;
    const onFailure = (error: unknown): void => failed.abort(error);
    return new Unpacker({ blobs, applier, targets, locks: this.#locks, signal, onFailure });
  }
}

/** One transfer under way. */
export interface Job extends TransferOptions {
  readonly blobs: Blobs;
  readonly images: ImageRecords;
}

async function exportTo(store: StoreEnd, archive: ExportEnd, { blobs, images, signal, report }: Job): Promise<void> {
  report({ event: "Exporting" });
  try {
    const records = namesToExport(store).map((name) => images.get(name));
    const platform = ordered(...(archive.platforms.length > 0 ? archive.platforms : [hostPlatform()]));
    await exportImages(records, blobs, (bytes) => archive.sink.write(bytes), { ...archive, platform, signal });
    await archive.sink.end();
  } finally {
    archive.sink.close();
  }
  report({ event: "Completed export" });
}

async function named<T>(what: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw wrap(what, error);
  }
}
