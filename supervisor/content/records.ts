/** What the database knows of blobs and ingests. All of it is synchronous: callers put it into transactions. */

import type { Database } from "../store/database.ts";
import { decodeLabels, encodeLabels, type Labels } from "../store/labels.ts";
import { nowMicros } from "../store/time.ts";

/** A blob as one namespace sees it. Times are microseconds. */
export interface BlobInfo {
  readonly digest: string;
  readonly size: number;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly labels: Labels;
}

/** The record of an ingest. `expected` is a digest when the blob is already there in another namespace, else empty. */
export interface IngestRecord {
  readonly ref: string;
  readonly name: string;
  readonly expected: string;
  /** Microseconds. */
  readonly startedAt: number;
  /** Bytes; 0 when unknown. */
  readonly total: number;
}

interface BlobRow {
  digest: string;
  size: number;
  created_at: number;
  updated_at: number;
  labels: string;
}

interface IngestRow {
  ref: string;
  name: string;
  expected: string;
  started_at: number;
  total: number;
}

/** Rows of blobs and ingests. */
export class Records {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  blob(namespace: string, digest: string): BlobInfo | undefined {
    const row = this.#database.get<BlobRow>(
      "SELECT digest, size, created_at, updated_at, labels FROM blobs WHERE namespace = ? AND digest = ?",
      namespace,
      digest,
    );
    return row && blobOf(row);
  }

  hasBlob(namespace: string, digest: string): boolean {
    return (
      this.#database.get("SELECT 1 FROM blobs WHERE namespace = ? AND digest = ?", namespace, digest) !== undefined
    );
  }

  /** Up to `limit` blobs of a namespace whose digests come after `after`, by digest. */
  blobsAfter(namespace: string, after: string, limit: number): BlobInfo[] {
    return this.#database
      .all<BlobRow>(
        `SELECT digest, size, created_at, updated_at, labels FROM blobs
         WHERE namespace = ? AND digest > ? ORDER BY digest LIMIT ?`,
        namespace,
        after,
        limit,
      )
      .map(blobOf);
  }

  /** The size of a blob that some namespace has. */
  sizeAnywhere(digest: string): number | undefined {
    return this.#database.get<{ size: number }>("SELECT size FROM blobs WHERE digest = ? LIMIT 1", digest)?.size;
  }

  /** The size of a blob that a namespace has which shares its content (`containerd.io/namespace.shareable`). */
  sizeShared(digest: string): number | undefined {
    return this.#database.get<{ size: number }>(
      `SELECT size FROM blobs JOIN namespaces ON name = namespace
       WHERE digest = ? AND namespaces.labels ->> '$."containerd.io/namespace.shareable"' = 'true' LIMIT 1`,
      digest,
    )?.size;
  }

  /** True while a namespace has the blob, or an ingest waits for its commit. */
  isNeeded(digest: string): boolean {
    return (
      this.#database.get("SELECT 1 FROM blobs WHERE digest = ? LIMIT 1", digest) !== undefined ||
      this.#database.get("SELECT 1 FROM ingests WHERE expected = ? LIMIT 1", digest) !== undefined
    );
  }

  /** Records a blob; what is there already (a damaged one that was written again) keeps its labels beside the new. */
  putBlob(namespace: string, digest: string, size: number, labels: Labels): void {
    const now = nowMicros();
    this.#database.run(
      `INSERT INTO blobs (namespace, digest, size, created_at, updated_at, labels) VALUES (?1, ?2, ?3, ?4, ?4, ?5)
       ON CONFLICT DO UPDATE SET size = ?3, updated_at = ?4, labels = json_patch(labels, ?5)`,
      namespace,
      digest,
      size,
      now,
      encodeLabels(labels),
    );
  }

  setLabels(namespace: string, digest: string, labels: Labels): void {
    this.#database.run(
      "UPDATE blobs SET labels = ?, updated_at = ? WHERE namespace = ? AND digest = ?",
      encodeLabels(labels),
      nowMicros(),
      namespace,
      digest,
    );
  }

  /** @returns whether there was one */
  deleteBlob(namespace: string, digest: string): boolean {
    return this.#database.run("DELETE FROM blobs WHERE namespace = ? AND digest = ?", namespace, digest) > 0;
  }

  ingest(namespace: string, ref: string): IngestRecord | undefined {
    const row = this.#database.get<IngestRow>(
      "SELECT ref, name, expected, started_at, total FROM ingests WHERE namespace = ? AND ref = ?",
      namespace,
      ref,
    );
    return row && ingestOf(row);
  }

  ingests(namespace: string): IngestRecord[] {
    return this.#database
      .all<IngestRow>(
        "SELECT ref, name, expected, started_at, total FROM ingests WHERE namespace = ? ORDER BY ref",
        namespace,
      )
      .map(ingestOf);
  }

  /** True when the directory belongs to an ingest. */
  hasIngestName(name: string): boolean {
    return this.#database.get("SELECT 1 FROM ingests WHERE name = ?", name) !== undefined;
  }

  /** Records an ingest, or changes it. @param expiresAt microseconds; 0: lives as long as its lease */
  putIngest(namespace: string, record: IngestRecord, expiresAt: number): void {
    this.#database.run(
      `INSERT INTO ingests (namespace, ref, name, expected, started_at, expires_at, total) VALUES (?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (namespace, ref) DO UPDATE SET
         name = excluded.name, expected = excluded.expected, started_at = excluded.started_at,
         expires_at = excluded.expires_at, total = excluded.total`,
      namespace,
      record.ref,
      record.name,
      record.expected,
      record.startedAt,
      expiresAt,
      record.total,
    );
  }

  deleteIngest(namespace: string, ref: string): void {
    this.#database.run("DELETE FROM ingests WHERE namespace = ? AND ref = ?", namespace, ref);
  }
}

function blobOf(row: BlobRow): BlobInfo {
  return {
    digest: row.digest,
    size: row.size,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    labels: decodeLabels(row.labels),
  };
}

function ingestOf(row: IngestRow): IngestRecord {
  return { ref: row.ref, name: row.name, expected: row.expected, startedAt: row.started_at, total: row.total };
}
