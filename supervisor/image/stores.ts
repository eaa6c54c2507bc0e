/**
 * What images need of the other rooms. Blobs, images, snapshots and leases are those of one namespace, which the
 * implementations are bound to together with the lease that keeps what is made.
 */

import type { Descriptor } from "./descriptor.ts";

/** What is known of a blob that is there. */
export interface BlobInfo {
  readonly digest: string;
  readonly size: number;
  readonly labels: Readonly<Record<string, string>>;
}

/** An open blob. */
export interface BlobReader {
  readonly size: number;
  /** Where the bytes are. */
  readonly path: string;
  /** At most `length` bytes from `offset`; fewer only at the end. */
  read(offset: number, length: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** A blob that is being written. */
export interface BlobWriter {
  /** How many bytes it has. */
  readonly offset: number;
  write(bytes: Uint8Array): Promise<void>;
  /** Begins again: `size` is 0. */
  truncate(size: number): Promise<void>;
  /** Digest of what it has. */
  digest(): string;
  /**
   * Makes it a blob.
   * @throws ContainerdError AlreadyExists, FailedPrecondition for another size or digest than expected
   */
  commit(options: { size?: number; expected?: string; labels?: Readonly<Record<string, string>> }): Promise<void>;
  close(): Promise<void>;
}

/** The content of one namespace. */
export interface Blobs {
  /** @throws ContainerdError NotFound */
  info(digest: string): BlobInfo | Promise<BlobInfo>;
  /** @throws ContainerdError NotFound */
  open(digest: string): Promise<BlobReader>;
  /**
   * Opens an ingest, going on where it was left.
   * @throws ContainerdError AlreadyExists when the expected blob is there, Unavailable while another has the ref
   */
  writer(options: { ref: string; total?: number; expected?: string }): Promise<BlobWriter>;
  abort(ref: string): Promise<void>;
  /** Sets labels; those not named stay. */
  label(digest: string, labels: Readonly<Record<string, string>>): Promise<void>;
  /** A blob that was unpacked, by the digest of its uncompressed bytes. */
  findUncompressed(diffId: string): Promise<BlobInfo | undefined>;
}

/** A mount as snapshotters give it. */
export interface Mount {
  readonly type: string;
  readonly source: string;
  readonly target: string;
  readonly options: readonly string[];
}

/** One snapshotter in one namespace. */
export interface Snapshots {
  readonly name: string;
  /** @throws ContainerdError NotFound */
  stat(key: string): Promise<unknown>;
  prepare(key: string, parent: string, labels: Readonly<Record<string, string>>): Promise<readonly Mount[]>;
  commit(name: string, key: string, labels: Readonly<Record<string, string>>): Promise<void>;
  /** Resolves when a snapshot and its parents survive a power cut. */
  settled(key: string): Promise<void>;
  remove(key: string): Promise<void>;
}

/** Unpacks layers. */
export interface Applier {
  /**
   * Unpacks a layer into mounts.
   * @returns the descriptor of the uncompressed layer
   */
  apply(
    layer: Descriptor,
    mounts: readonly Mount[],
    options: { blob: string; signal: AbortSignal },
  ): Promise<{ readonly digest: string }>;
}

/** An image record. */
export interface ImageRecord {
  readonly name: string;
  readonly target: Descriptor;
  readonly labels: Readonly<Record<string, string>>;
}

/** The images of one namespace. */
export interface ImageRecords {
  /** @throws ContainerdError NotFound */
  get(name: string): ImageRecord;
  /** Creates an image or replaces the one of that name. */
  put(image: ImageRecord): Promise<ImageRecord>;
}
