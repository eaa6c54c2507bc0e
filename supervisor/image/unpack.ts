/**
 * Unpacks images into snapshots while their blobs arrive (core/unpack/unpacker.go). Layers of one image go on top of each
 * other, one after another; the blobs of later ones are fetched meanwhile.
 */

import { ContainerdError, messageOf } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import { chainIds } from "./chain.ts";
import type { Descriptor } from "./descriptor.ts";
import type { KeyedLock } from "./lock.ts";
import { parseConfig, readBlob } from "./manifest.ts";
import { isConfig, isLayer, isManifest } from "./mediatype.ts";
import type { Matcher } from "./platform.ts";
import type { Applier, Blobs, Snapshots } from "./stores.ts";
import type { Visit } from "./walk.ts";

/** Where images for some platforms are unpacked to. */
export interface UnpackTarget {
  readonly platform: Matcher;
  readonly snapshots: Snapshots;
}

/** What an {@link Unpacker} works with. */
export interface UnpackerOptions {
  readonly blobs: Blobs;
  readonly applier: Applier;
  readonly targets: readonly UnpackTarget[];
  readonly locks: KeyedLock;
  /** Ends it. */
  readonly signal: AbortSignal;
  /** Told of the first failure, before all else has ended. */
  readonly onFailure?: (error: unknown) => void;
}

/** Tries to find a free key for the snapshot that a layer is unpacked to. */
const MAX_TRIES = 3;
/** Label of a snapshot that will be committed under this name. */
const SNAPSHOT_REF = "containerd.io/snapshot.ref";
const UNCOMPRESSED = "containerd.io/uncompressed";

/** The unpacking of one transfer. */
export class Unpacker {
  readonly #options: UnpackerOptions;
  readonly #controller = new AbortController();
  readonly #signal: AbortSignal;
  readonly #layers = new Map<string, readonly Descriptor[]>();
  readonly #jobs: Promise<void>[] = [];

  constructor(options: UnpackerOptions) {
    this.#options = options;
    this.#signal = AbortSignal.any([options.signal, this.#controller.signal]);
  }

  /**
   * Wraps a visitor that fetches: layers are held back until the configuration is there that says how they go together,
   * and are then fetched and unpacked. {@link done} tells how that ended.
   */
  around(visit: Visit): Visit {
    return async (descriptor) => {
      const children = await this.#locked(descriptor, () => visit(descriptor));
      if (isManifest(descriptor.mediaType)) {
        const layers = children.filter(({ mediaType }) => isLayer(mediaType));
        const others = children.filter(({ mediaType }) => !isLayer(mediaType));
        for (const { digest } of others) this.#layers.set(digest, layers);
        return others;
      }
      const layers = isConfig(descriptor.mediaType) ? this.#layers.get(descriptor.digest) : undefined;
      if (layers !== undefined && layers.length > 0) this.#start(visit, descriptor, layers);
      return children;
    };
  }

  /** Resolves when everything is unpacked. @throws the first failure, after all else has ended */
  async done(): Promise<void> {
    const results = await Promise.allSettled(this.#jobs);
    for (const result of results) if (result.status === "rejected") throw result.reason;
  }

  /** Ends what still runs, and waits for it. */
  async stop(): Promise<void> {
    this.#controller.abort(new ContainerdError(Code.Canceled, "context canceled"));
    await Promise.allSettled(this.#jobs);
  }

  #start(visit: Visit, config: Descriptor, layers: readonly Descriptor[]): void {
    const job = this.#unpack(visit, config, layers);
    // Whoever asks for the result sees the error; until then it must not count as unhandled.
    job.catch((error: unknown) => this.#failed(error));
    this.#jobs.push(job);
  }

  #failed(error: unknown): void {
    this.#controller.abort(error);
    this.#options.onFailure?.(error);
  }

  #locked<T>(descriptor: Descriptor, work: () => Promise<T>): Promise<T> {
    return this.#options.locks.with(`blob ${descriptor.digest}`, this.#signal, work);
  }

  async #unpack(visit: Visit, config: Descriptor, layers: readonly Descriptor[]): Promise<void> {
    const { blobs, targets } = this.#options;
    const { platform, diffIds } = parseConfig(await readBlob(blobs, config), config.digest);
    if (layers.length !== diffIds.length) {
      throw new ContainerdError(
        Code.Unknown,
        `number of layers and diffIDs don't match: ${layers.length} != ${diffIds.length}`,
      );
    }
    const target = targets.find((candidate) => candidate.platform.matches(platform));
    if (target === undefined) {
      await this.#fetchAll(visit, layers);
      return;
    }
    const chain = chainIds(diffIds);
    const fetches = new Map<number, Promise<void>>();
    // Blobs of layers below the first one that has to be unpacked are not needed.
    const fetchFrom = (first: number): void => {
      if (fetches.size > 0) return;
      for (const [index, layer] of layers.entries()) {
        if (index < first) continue;
        const fetch = this.#locked(layer, () => visit(layer)).then(() => undefined);
        fetch.catch((error: unknown) => this.#failed(error));
        fetches.set(index, fetch);
      }
    };
    try {
      for (const [index, layer] of layers.entries()) {
        await this.#options.locks.with(`snapshot ${target.snapshots.name} ${chain[index]}`, this.#signal, () =>
          this.#layer(target.snapshots, layer, {
            chainId: chain[index] ?? "",
            parent: chain[index - 1] ?? "",
            diffId: diffIds[index] ?? "",
            fetched: () => {
              fetchFrom(index);
              return fetches.get(index);
            },
          }),
        );
      }
    } catch (error) {
      this.#failed(error);
      await Promise.allSettled(fetches.values());
      throw error;
    }
    for (const fetch of fetches.values()) await fetch;
    // The image is acknowledged after this.
    await target.snapshots.settled(chain.at(-1) ?? "");
    await blobs.label(config.digest, {
      [`containerd.io/gc.ref.snapshot.${target.snapshots.name}`]: chain.at(-1) ?? "",
    });
  }

  async #fetchAll(visit: Visit, layers: readonly Descriptor[]): Promise<void> {
    const results = await Promise.allSettled(layers.map((layer) => this.#locked(layer, () => visit(layer))));
    for (const result of results) if (result.status === "rejected") throw result.reason;
  }

  /** Makes the snapshot of one layer, unless it is there or another makes it first. */
  async #layer(
    snapshots: Snapshots,
    layer: Descriptor,
    { chainId, parent, diffId, fetched }: LayerPlan,
  ): Promise<void> {
    const labels = { ...inheritedLabels(layer), [SNAPSHOT_REF]: chainId };
    const prepared = await prepare(snapshots, chainId, parent, labels);
    if (prepared === undefined) return;
    const { key, mounts } = prepared;
    try {
      await fetched();
      this.#signal.throwIfAborted();
      const { digest } = await this.#apply(layer, mounts, diffId);
      if (digest !== diffId) {
        throw new ContainerdError(Code.Unknown, `wrong diff id calculated on extraction ${JSON.stringify(diffId)}`);
      }
      await snapshots.commit(chainId, key, labels);
    } catch (failure) {
      // What was ended because of a failure fails too; the first one is the cause.
      const error = this.#controller.signal.aborted ? this.#controller.signal.reason : failure;
      await snapshots.remove(key).catch(() => undefined);
      if (codeOf(error) === Code.AlreadyExists) return;
      throw error;
    }
    await this.#options.blobs.label(layer.digest, { [UNCOMPRESSED]: diffId });
  }

  async #apply(
    layer: Descriptor,
    mounts: Parameters<Applier["apply"]>[1],
    diffId: string,
  ): Promise<{ digest: string }> {
    const { blobs, applier } = this.#options;
    const reader = await blobs.open(layer.digest);
    try {
      return await applier.apply(layer, mounts, { blob: reader.path, signal: this.#signal });
    } catch (error) {
      if (this.#signal.aborted) throw this.#signal.reason;
      throw wrap(`failed to extract layer ${diffId}`, error);
    } finally {
      await reader.close();
    }
  }
}

interface LayerPlan {
  readonly chainId: string;
  /** Chain id of the layer below; empty for the lowest. */
  readonly parent: string;
  readonly diffId: string;
  /** Resolves when the blob is there. */
  readonly fetched: () => Promise<void> | undefined;
}

/** @returns undefined when the snapshot `chainId` is there already */
async function prepare(
  snapshots: Snapshots,
  chainId: string,
  parent: string,
  labels: Readonly<Record<string, string>>,
): Promise<{ key: string; mounts: Awaited<ReturnType<Snapshots["prepare"]>> } | undefined> {
  for (let tries = 1; ; tries++) {
    const key = `extract-${uniquePart()} ${chainId}`;
    try {
      return { key, mounts: await snapshots.prepare(key, parent, labels) };
    } catch (error) {
      if (codeOf(error) !== Code.AlreadyExists) {
        throw wrap(`failed to prepare extraction snapshot ${JSON.stringify(key)}`, error);
      }
      if (await isThere(snapshots, chainId)) return undefined;
      if (tries === MAX_TRIES) throw wrap("unable to prepare extraction snapshot", error);
    }
  }
}

async function isThere(snapshots: Snapshots, chainId: string): Promise<boolean> {
  try {
    await snapshots.stat(chainId);
    return true;
  } catch (error) {
    if (codeOf(error) === Code.NotFound) return false;
    throw wrap(`failed to stat snapshot ${chainId}`, error);
  }
}

/** A part of a key that nobody else has: nanoseconds and a few random bytes, as containerd writes it. */
export function uniquePart(): string {
  const random = Buffer.from(crypto.getRandomValues(new Uint8Array(3))).toString("base64url");
  return `${process.hrtime()[1]}-${random}`;
}

/** Annotations of a layer that its snapshot gets as labels (core/snapshots/snapshotter.go). */
function inheritedLabels({ annotations = {} }: Descriptor): Record<string, string> {
  return Object.fromEntries(Object.entries(annotations).filter(([key]) => key.startsWith("containerd.io/snapshot/")));
}

/** The code of an error of ours; undefined for any other. */
export function codeOf(error: unknown): Code | undefined {
  return error instanceof ContainerdError ? error.code : undefined;
}

/** The error with words before it, and its code. */
export function wrap(what: string, error: unknown): ContainerdError {
  return new ContainerdError(codeOf(error) ?? Code.Unknown, `${what}: ${messageOf(error)}`, { cause: error });
}
