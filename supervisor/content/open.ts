/** Opening a writer, and what it asks of the store until its blob is committed. */

import { alreadyExists, invalidArgument, notFound } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import { checkLabels, type Labels } from "../store/labels.ts";
import { nowMicros } from "../store/time.ts";
import { isDigest } from "./digest.ts";
import { CHUNK, diskError, readFully, syncDirectory, writeAll } from "./disk.ts";
import { createIngest, ingestKey, ingestName, removeIngest, resumeIngest, touchIngest } from "./ingest.ts";
import { writeMark } from "./mark.ts";
import type { IngestRecord } from "./records.ts";
import type { ContentStore } from "./store.ts";
import { type ContentWriter, IngestWriter, type OpenIngest, type WriterHost } from "./writer.ts";

/** An ingest without a lease lives this long, in microseconds. */
const LIFETIME = 24 * 3600 * 1e6;

/** What a writer is opened for. */
export interface OpenOptions {
  /** The name of the ingest within its namespace. */
  readonly ref: string;
  /** Bytes that are to come; 0 or missing: unknown. */
  readonly total?: number;
  /** The digest that is to come out; empty or missing: unknown. */
  readonly expected?: string;
  /** The lease that is to hold the ingest, and the blob then. */
  readonly lease?: string | undefined;
  /** Labels of the blob, unless the commit has others. */
  readonly labels?: Labels;
}

/** A blob of another namespace. */
type Shared = { readonly digest: string; readonly size: number };

/** {@link ContentStore.writer}. */
export async function openWriter(store: ContentStore, namespace: string, options: OpenOptions): Promise<ContentWriter> {
  const { ref, expected = "" } = options;
  checkLabels(options.labels ?? {}, "info.Labels: ");
  if (ref === "") throw invalidArgument("ref must not be empty: invalid argument");
  const known = isDigest(expected) ? store.records.sizeAnywhere(expected) : undefined;
  const isGood = known !== undefined && (await store.health.problem(expected, known)) === undefined;
  if (!isGood) await store.options.admit?.();
  const opened = store.options.database.transaction(() => begin(store, namespace, options, isGood));
  if (opened === undefined) {
    if (options.lease !== undefined) await store.options.database.durable();
    throw alreadyExists(`content ${expected}: already exists`);
  }
  const { record, shared, replaced, release } = opened;
  if (replaced !== undefined) void store.waste.removeIngests([replaced.name]);
  if (replaced !== undefined && replaced.expected !== "") void store.waste.removeBlobs([replaced.expected]);
  const session = new Session(store, namespace, record, options);
  const { startedAt, total } = record;
  if (shared) {
    release();
    return new IngestWriter(session, { ref, startedAt, total: shared.size, shared });
  }
  try {
    const ingest = await session.openIngest(release);
    const isDoubtful = store.health.isDoubtful(startedAt);
    const writer = new IngestWriter(session, { ref, startedAt, total, ingest, isDoubtful });
    store.refs.attach(namespace, ref, writer);
    return writer;
  } catch (error) {
    release();
    const told = diskError(error, `open ingest ${ref}`);
    if (told.code === Code.ResourceExhausted) await session.discard();
    throw told;
  }
}

interface Begun {
  readonly record: IngestRecord;
  readonly shared: Shared | undefined;
  /** An ingest that this one takes the place of. */
  readonly replaced: IngestRecord | undefined;
  readonly release: () => void;
}

/** Records an ingest and takes its ref. @returns undefined when the namespace has the blob already */
function begin(store: ContentStore, namespace: string, options: OpenOptions, isGood: boolean): Begun | undefined {
  const { records } = store;
  const { leases, namespaces, policy } = store.options;
  const { ref, expected = "", lease, total = 0 } = options;
  let shared: Shared | undefined;
  if (isGood) {
    if (records.hasBlob(namespace, expected)) {
      leases.hold(namespace, lease, { type: "content", id: expected });
      return undefined;
    }
    const size = policy === "isolated" ? records.sizeShared(expected) : records.sizeAnywhere(expected);
    if (size !== undefined && (total <= 0 || total === size)) shared = { digest: expected, size };
  }
  const release = store.refs.take(namespace, ref);
  try {
    namespaces.require(namespace);
    const before = records.ingest(namespace, ref);
    const isSame =
      before?.expected === "" &&
      !(total > 0 && before.total > 0 && total !== before.total) &&
      // Clients give things of different images one ref (ctr imports every archive's index as `tar-index.json`). What a
      // daemon that was killed has left of one must not become the beginning of another that has no digest to tell.
      !(expected === "" && store.health.isDoubtful(before.startedAt));
    const startedAt = Math.max(nowMicros(), (before?.startedAt ?? 0) + 1);
    const record: IngestRecord =
      before && isSame && !shared
        ? before
        : {
            ref,
            name: ingestName(ingestKey(namespace, startedAt, ref)),
            expected: shared?.digest ?? "",
            startedAt,
            total: shared?.size ?? Math.max(0, total),
          };
    records.putIngest(namespace, record, lease === undefined ? nowMicros() + LIFETIME : 0);
    leases.hold(namespace, lease, { type: "ingests", id: ref });
    return { record, shared, release, replaced: before && before.name !== record.name ? before : undefined };
  } catch (error) {
    release();
    throw error;
  }
}

/** One ingest of one writer. */
class Session implements WriterHost {
  readonly #store: ContentStore;
  readonly #namespace: string;
  readonly #record: IngestRecord;
  readonly #options: OpenOptions;
  /** True when the names of the ingest's files, and its record, are on disk. */
  #isNamed = false;

  constructor(store: ContentStore, namespace: string, record: IngestRecord, options: OpenOptions) {
    this.#store = store;
    this.#namespace = namespace;
    this.#record = record;
    this.#options = options;
  }

  get #path(): string {
    return this.#store.layout.ingest(this.#record.name);
  }

  /** Opens what there is of the ingest, or makes it. */
  async openIngest(release: () => void): Promise<OpenIngest> {
    const path = this.#path;
    const hasher = new Bun.CryptoHasher("sha256");
    const resumed = await resumeIngest(path, hasher);
    if (resumed) return { path, hasher, release, ...resumed };
    return { path, hasher, release, offset: 0, file: await createIngest(path, this.#namespace, this.#record) };
  }

  async unshare(size: number): Promise<OpenIngest> {
    const { refs, files, records, options } = this.#store;
    const record = { ...this.#record, total: 0 };
    const release = refs.take(this.#namespace, record.ref);
    try {
      const hasher = new Bun.CryptoHasher("sha256");
      const file = await createIngest(this.#path, this.#namespace, record);
      try {
        const blob = size > 0 ? await files.open(record.expected) : undefined;
        if (size > 0 && blob === undefined) throw notFound(`content ${record.expected}: not found`);
        try {
          const bytes = new Uint8Array(CHUNK);
          for (let at = 0; blob && at < size; ) {
            const chunk = bytes.subarray(0, await readFully(blob, bytes.subarray(0, Math.min(CHUNK, size - at)), at));
            if (chunk.length === 0) throw notFound(`content ${record.expected} is shorter than ${size}: not found`);
            hasher.update(chunk);
            await writeAll(file, chunk, at);
            at += chunk.length;
          }
        } finally {
          await blob?.close();
        }
        options.database.transaction(() => {
          if (!this.#isMine()) throw notFound(`reference ${record.ref}: not found`);
          const expiresAt = this.#options.lease === undefined ? nowMicros() + LIFETIME : 0;
          records.putIngest(this.#namespace, { ...record, expected: "" }, expiresAt);
        });
        void this.#store.waste.removeBlobs([record.expected]);
      } catch (error) {
        await file.close();
        await removeIngest(this.#path);
        throw error;
      }
      return { path: this.#path, file, offset: size, hasher, release };
    } catch (error) {
      release();
      throw diskError(error, `open ingest ${record.ref}`);
    }
  }

  async commit(ingest: OpenIngest | undefined, blob: { digest: string; size: number; labels: Labels }): Promise<void> {
    const store = this.#store;
    const { digest, size } = blob;
    let exists = false;
    let isPut = false;
    try {
      await store.digests.run(digest, async () => {
        if (!this.#isMine()) throw notFound(`reference ${this.#record.ref}: not found`);
        exists = await this.#isThere(digest, size);
        for (let isEntered = false; !isEntered; ) {
          if (ingest && !exists) {
            isPut = true;
            await store.files.put(`${ingest.path}/data`, digest);
          }
          isEntered = await store.options.database.commit(() => {
            // The collector may have taken the record since it was looked at; the file it can take only under our lock.
            if (exists && !store.records.hasBlob(this.#namespace, digest)) return false;
            this.#enter(blob, exists, ingest !== undefined);
            return true;
          });
          if (!isEntered) exists = false;
        }
      });
    } catch (error) {
      // Put in place, but not recorded: nobody may find it there, nor an ingest without its data.
      if (isPut) await this.discard().catch(() => undefined);
      void store.waste.removeBlobs([digest]);
      throw error;
    } finally {
      await ingest?.file.close();
    }
    if (ingest) void store.waste.removeIngests([this.#record.name]);
    if (exists) throw alreadyExists(`content ${digest}: already exists`);
    store.publishCreate(this.#namespace, digest, size);
  }

  async discard(): Promise<void> {
    const { records, options } = this.#store;
    options.database.transaction(() => {
      if (!this.#isMine()) return;
      records.deleteIngest(this.#namespace, this.#record.ref);
      options.leases.release(this.#namespace, this.#options.lease, { type: "ingests", id: this.#record.ref });
    });
    await removeIngest(this.#path);
  }

  touch(ingest: OpenIngest, micros: number): Promise<void> {
    return touchIngest(ingest.path, micros);
  }

  async synced(ingest: OpenIngest, offset: number): Promise<void> {
    await writeMark(ingest.path, offset, true);
    if (this.#isNamed) return;
    await Promise.all([
      syncDirectory(ingest.path),
      syncDirectory(this.#store.layout.ingests),
      this.#store.options.database.durable(),
    ]);
    this.#isNamed = true;
  }

  /** True when the namespace has the blob, and it is good as far as is known. */
  async #isThere(digest: string, size: number): Promise<boolean> {
    const { records, health } = this.#store;
    if (!records.hasBlob(this.#namespace, digest) || health.isSuspect(digest)) return false;
    return (await health.problem(digest, size)) === undefined;
  }

  /** True while the ingest was not aborted, nor replaced by another of its ref. */
  #isMine(): boolean {
    return this.#store.records.ingest(this.#namespace, this.#record.ref)?.name === this.#record.name;
  }

  /** Puts the blob into the namespace, in the place of the ingest. @param isWritten its file is new */
  #enter(blob: { digest: string; size: number; labels: Labels }, exists: boolean, isWritten: boolean): void {
    const { digest, size, labels } = blob;
    const { records, health, options } = this.#store;
    const { ref } = this.#record;
    const { lease } = this.#options;
    if (!this.#isMine()) throw notFound(`reference ${ref}: not found`);
    const all = { ...this.#options.labels, ...labels };
    if (!exists) {
      records.putBlob(this.#namespace, digest, size, all);
      if (isWritten) health.clear(digest);
      this.#store.opened.forget(digest);
    }
    records.deleteIngest(this.#namespace, ref);
    options.leases.release(this.#namespace, lease, { type: "ingests", id: ref });
    options.leases.hold(this.#namespace, lease, { type: "content", id: digest });
  }
}
