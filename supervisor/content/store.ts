/**
 * The content store: blobs by digest, shared between namespaces on disk, and ingests by ref (core/metadata/content.go,
 * plugins/content/local).
 *
 * Invariants: a record of a blob is made only when its file and the directory that names it are synced. A file is
 * removed only under the lock of its digest, and only while no namespace has the blob and no ingest waits for it. A
 * damaged blob is answered as not found, and a write of it is never answered AlreadyExists.
 */

import { notFound } from "../../proto/errdefs.ts";
import { containerd } from "../../proto/gen/supervisor.js";
import type { Publisher } from "../event/publisher.ts";
import type { Database } from "../store/database.ts";
import { parseFilters } from "../store/filter.ts";
import { checkLabels, type Labels } from "../store/labels.ts";
import { BlobFiles } from "./blobs.ts";
import { Health } from "./health.ts";
import { damaged, fieldOf, updatedLabels } from "./info.ts";
import { ingestProgress, removeIngest } from "./ingest.ts";
import { Layout } from "./layout.ts";
import { KeyedMutex } from "./lock.ts";
import { type OpenOptions, openWriter } from "./open.ts";
import { type BlobReader, OpenFiles } from "./reader.ts";
import { type BlobInfo, type IngestRecord, Records } from "./records.ts";
import { RefLocks } from "./refs.ts";
import { Waste } from "./waste.ts";
import type { ContentWriter, WriterStatus } from "./writer.ts";

/** What the store needs of leases. */
export interface ContentLeases {
  hold(namespace: string, lease: string | undefined, resource: { type: string; id: string }): void;
  release(namespace: string, lease: string | undefined, resource: { type: string; id: string }): void;
}

/** What the store is made of. */
export interface ContentStoreOptions {
  /** The directory `io.containerd.content.v1.content`. */
  readonly directory: string;
  readonly database: Database;
  readonly leases: ContentLeases;
  readonly namespaces: { require(namespace: string): void };
  readonly publisher: Publisher;
  /** Resolves when no snapshot needs the blob any more that it was unpacked from: none is deleted before. */
  readonly allDecided?: () => Promise<void>;
  /** Resolves when there is room for something new; else it throws. */
  readonly admit?: () => Promise<void>;
  /** shared: a namespace gets a blob that another has for the asking; isolated: it must bring the bytes. */
  readonly policy?: "shared" | "isolated";
  /** Told of work in the background that failed. */
  readonly onError?: (what: string, error: unknown) => void;
}

/** Blobs that are listed in one go. */
const PAGE = 500;
/** Writers whose calls were cut off have this long to end, in milliseconds. */
const CLOSE_MS = 2000;

/** The content store of one daemon. */
export class ContentStore {
  readonly options: ContentStoreOptions;
  readonly layout: Layout;
  readonly records: Records;
  readonly health: Health;
  readonly files: BlobFiles;
  readonly refs = new RefLocks();
  readonly opened = new OpenFiles((digest) => this.files.open(digest));
  /** One at a time for each digest: whoever puts or removes its file. */
  readonly digests = new KeyedMutex();
  /** Files that nobody needs any more. */
  readonly waste: Waste;

  private constructor(options: ContentStoreOptions) {
    this.options = options;
    this.layout = new Layout(options.directory);
    this.records = new Records(options.database);
    this.health = new Health(options.database, this.layout, this.digests);
    this.files = new BlobFiles(this.layout);
    this.waste = new Waste(this);
  }

  /** Opens the store; its directory is made when it is not there. Reads no blob. */
  static async open(options: ContentStoreOptions): Promise<ContentStore> {
    const store = new ContentStore(options);
    await store.files.prepare();
    await options.database.durable();
    return store;
  }

  /** Waits for what is under way. Writers that do not end in time are left as by a power cut. */
  async close(): Promise<void> {
    const isClean = await this.refs.allFree(CLOSE_MS);
    await this.idle();
    this.opened.close();
    if (isClean) this.health.markClean();
  }

  /** Resolves when no work is left in the background. */
  idle(): Promise<void> {
    return this.waste.idle();
  }

  /** @throws ContainerdError NotFound, also for a damaged blob */
  async info(namespace: string, digest: string): Promise<BlobInfo> {
    const info = this.records.blob(namespace, digest);
    if (info === undefined) throw notFound(`content digest ${digest}: not found`);
    const problem = this.health.isSuspect(digest) ? await this.health.problem(digest, info.size) : undefined;
    if (problem !== undefined) throw damaged(digest, problem);
    return info;
  }

  /**
   * Replaces labels: those that `paths` name (`labels.KEY`), or all.
   * @throws ContainerdError NotFound, InvalidArgument
   */
  async update(namespace: string, digest: string, labels: Labels, paths: readonly string[]): Promise<BlobInfo> {
    return this.options.database.commit(() => {
      const before = this.records.blob(namespace, digest);
      if (before === undefined) throw notFound(`content digest ${digest}: not found`);
      const updated = updatedLabels(before, labels, paths);
      checkLabels(updated, "info.Labels: ");
      this.records.setLabels(namespace, digest, updated);
      return this.records.blob(namespace, digest) ?? before;
    });
  }

  /**
   * The blobs that one of the filters lets through, by digest; without damaged ones.
   * @throws ContainerdError InvalidArgument for a wrong filter
   */
  *list(namespace: string, filters: readonly string[]): Generator<BlobInfo> {
    const filter = parseFilters(filters, (problem) => problem);
    let after = "";
    for (;;) {
      const page = this.records.blobsAfter(namespace, after, PAGE);
      for (const info of page) {
        after = info.digest;
        if (!this.health.isDamaged(info.digest) && filter((path) => fieldOf(info, path))) yield info;
      }
      if (page.length < PAGE) return;
    }
  }

  /** @throws ContainerdError NotFound */
  async delete(namespace: string, digest: string, lease?: string): Promise<void> {
    await this.options.allDecided?.();
    await this.options.database.commit(() => {
      if (!this.records.deleteBlob(namespace, digest)) throw notFound(`content digest ${digest}: not found`);
      this.options.leases.release(namespace, lease, { type: "content", id: digest });
    });
    this.#publish(namespace, "delete", containerd.events.ContentDelete.encode({ digest }).finish());
    void this.waste.removeBlobs([digest]);
  }

  /** Opens a blob. @throws ContainerdError NotFound, also for a damaged blob */
  async readerAt(namespace: string, digest: string): Promise<BlobReader> {
    const info = await this.info(namespace, digest);
    const reader = await this.opened.reader(digest, this.path(digest));
    if (reader?.size === info.size) return reader;
    await reader?.close();
    this.opened.forget(digest);
    const problem =
      reader === undefined ? "its file is missing" : `it has ${reader.size} bytes instead of ${info.size}`;
    if (this.records.hasBlob(namespace, digest)) this.health.damaged(digest);
    throw damaged(digest, problem);
  }

  /** The file of a blob, for processes that read it. What is in it was checked only by {@link readerAt}. */
  path(digest: string): string {
    return this.layout.blob(digest);
  }

  /**
   * Hashes a blob.
   * @returns what is wrong with it; undefined when nothing is
   */
  verify(digest: string): Promise<string | undefined> {
    const size = this.records.sizeAnywhere(digest);
    return size === undefined ? Promise.resolve("no namespace has it") : this.health.verify(digest, size);
  }

  /**
   * Begins an ingest, or resumes the one of that ref.
   * @throws ContainerdError AlreadyExists when the namespace has the expected blob; Unavailable while the ref has
   * another writer
   */
  writer(namespace: string, options: OpenOptions): Promise<ContentWriter> {
    return openWriter(this, namespace, options);
  }

  /** @throws ContainerdError NotFound */
  async status(namespace: string, ref: string): Promise<WriterStatus> {
    const record = this.records.ingest(namespace, ref);
    const status = record && (await this.#statusOf(namespace, record));
    if (status === undefined) throw notFound(`reference ${ref}: not found`);
    return status;
  }

  /**
   * The ingests that one of the filters (on `ref`) lets through.
   * @throws ContainerdError InvalidArgument for a wrong filter
   */
  async statuses(namespace: string, filters: readonly string[]): Promise<WriterStatus[]> {
    const filter = parseFilters(filters, (problem) => problem);
    const found: WriterStatus[] = [];
    for (const record of this.records.ingests(namespace)) {
      if (!filter(([first, ...rest]) => (first === "ref" && rest.length === 0 ? record.ref : undefined))) continue;
      const status = await this.#statusOf(namespace, record);
      if (status !== undefined) found.push(status);
    }
    return found;
  }

  /** Removes an ingest; its writer, if it has one, can no longer commit. @throws ContainerdError NotFound */
  async abort(namespace: string, ref: string, lease?: string): Promise<void> {
    const record = await this.options.database.commit(() => {
      const found = this.records.ingest(namespace, ref);
      if (found === undefined) throw notFound(`reference ${ref}: not found`);
      this.records.deleteIngest(namespace, ref);
      this.options.leases.release(namespace, lease, { type: "ingests", id: ref });
      return found;
    });
    await removeIngest(this.layout.ingest(record.name));
    if (record.expected !== "") void this.waste.removeBlobs([record.expected]);
  }

  /** True while an ingest has a writer. */
  hasWriter(namespace: string, ref: string): boolean {
    return this.refs.isHeld(namespace, ref);
  }

  /** Tells that a namespace has got a blob. */
  publishCreate(namespace: string, digest: string, size: number): void {
    this.#publish(namespace, "create", containerd.events.ContentCreate.encode({ digest, size }).finish());
  }

  async #statusOf(namespace: string, record: IngestRecord): Promise<WriterStatus | undefined> {
    const writer = this.refs.writer(namespace, record.ref);
    if (writer !== undefined) return { ...writer.status(), expected: "" };
    const progress = await ingestProgress(this.layout.ingest(record.name));
    if (progress === undefined) return undefined;
    const { ref, startedAt, total } = record;
    return { ref, startedAt, total, expected: "", ...progress };
  }

  #publish(namespace: string, verb: "create" | "delete", value: Uint8Array): void {
    const name = `containerd.events.Content${verb === "create" ? "Create" : "Delete"}`;
    this.options.publisher.publish(namespace, `/content/${verb}`, { name, value });
  }
}
