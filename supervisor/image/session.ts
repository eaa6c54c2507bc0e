/** The stores as one transfer sees them: bound to its namespace, and to the lease that keeps what it makes. */

import { Code } from "../../proto/ttrpc/status.ts";
import type { ContentStore } from "../content/store.ts";
import type { SnapshotService } from "../snapshot/service.ts";
import type { Images } from "../store/images.ts";
import type { Descriptor } from "./descriptor.ts";
import type { LeaseRecords } from "./pull-lease.ts";
import type { Blobs, ImageRecords, Snapshots } from "./stores.ts";
import { codeOf } from "./unpack.ts";

/** The rooms that a session is made of. */
export interface SessionRooms {
  readonly content: ContentStore;
  readonly images: Pick<Images, "get" | "create" | "update">;
  readonly snapshots: SnapshotService;
  readonly leases: LeaseRecords;
}

/** Where a transfer works. */
export interface Scope {
  readonly namespace: string;
  readonly lease: string | undefined;
}

/** A lease that was forgotten ends after this many hours. */
const LEASE_HOURS = 24;

/**
 * Runs `work` under a lease: the caller's, or one that is made for it and gone afterwards.
 */
export async function withLease<T>(
  leases: Pick<LeaseRecords, "create" | "delete">,
  { namespace, lease }: Scope,
  work: (lease: string) => Promise<T>,
): Promise<T> {
  if (lease !== undefined) return work(lease);
  const expires = new Date(Date.now() + LEASE_HOURS * 3_600_000).toISOString();
  const { id } = await leases.create(namespace, "", { "containerd.io/gc.expire": expires });
  try {
    return await work(id);
  } finally {
    await leases.delete(namespace, id).catch((error: unknown) => {
      if (codeOf(error) !== Code.NotFound) throw error;
    });
  }
}

/** The content of a namespace. */
export function blobsOf(content: ContentStore, { namespace, lease }: Scope): Blobs {
  return {
    info: (digest) => content.info(namespace, digest),
    open: (digest) => content.readerAt(namespace, digest),
    writer: (options) => content.writer(namespace, { ...options, lease }),
    abort: (ref) => content.abort(namespace, ref, lease),
    async label(digest, labels) {
      const { labels: before } = await content.info(namespace, digest);
      // Labels that stand already need no write.
      if (Object.entries(labels).every(([key, value]) => before[key] === value)) return;
      await content.update(
        namespace,
        digest,
        labels,
        Object.keys(labels).map((key) => `labels.${key}`),
      );
    },
    findUncompressed(diffId) {
      const [found] = content.list(namespace, [`labels."containerd.io/uncompressed"==${diffId}`]);
      return Promise.resolve(found);
    },
  };
}

/** The snapshots of a namespace in one snapshotter. */
export function snapshotsOf(service: SnapshotService, { namespace, lease }: Scope, name: string): Snapshots {
  return {
    name,
    stat: (key) => service.stat(namespace, name, key),
    prepare: (key, parent, labels) => service.prepare(namespace, lease, name, key, parent, labels),
    commit: (committed, key, labels) => service.commit(namespace, lease, name, committed, key, labels),
    settled: (key) => service.barrier.settled(namespace, name, key),
    remove: (key) => service.remove(namespace, lease, name, key),
  };
}

/** The images of a namespace. */
export function imagesOf(images: SessionRooms["images"], { namespace, lease }: Scope): ImageRecords {
  return {
    get(name) {
      const image = images.get(namespace, name);
      const { mediaType = "", digest = "", size = 0, annotations = {} } = image.target ?? {};
      const target: Descriptor = {
        mediaType: mediaType ?? "",
        digest: digest ?? "",
        size: Number(size),
        annotations: { ...annotations },
      };
      return { name: image.name, target, labels: { ...image.labels } };
    },
    async put(image) {
      const { mediaType, digest, size, annotations } = image.target;
      const record = {
        name: image.name,
        labels: { ...image.labels },
        target: { mediaType, digest, size, annotations: { ...annotations } },
      };
      for (;;) {
        try {
          await images.create(namespace, record, { lease });
          return image;
        } catch (error) {
          if (codeOf(error) !== Code.AlreadyExists) throw error;
        }
        try {
          await images.update(namespace, record, [], { lease });
          return image;
        } catch (error) {
          // It was removed between the two: begin again.
          if (codeOf(error) !== Code.NotFound) throw error;
        }
      }
    },
  };
}
