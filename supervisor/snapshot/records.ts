/** The records of snapshots as namespaces see them. Methods that write do it inside the caller's transaction. */

import type { Database } from "../store/database.ts";
import { decodeLabels, encodeLabels, type Labels } from "../store/labels.ts";
import { nowMicros } from "../store/time.ts";
import type { Kind } from "./snapshotter.ts";

/** A snapshot as one namespace sees it. */
export interface SnapshotRecord {
  readonly key: string;
  /** Key of the parent in the same namespace; empty for none. */
  readonly parent: string;
  /** As it was made; the snapshotter knows better. */
  readonly kind: Kind;
  /** Its key in the snapshotter. */
  readonly backend: string;
  /** Microseconds since 1970. */
  readonly createdAt: number;
  /** Microseconds since 1970. */
  readonly updatedAt: number;
  readonly labels: Labels;
}

interface Row {
  readonly key: string;
  readonly parent: string;
  readonly kind: Kind;
  readonly backend: string;
  readonly created_at: number;
  readonly updated_at: number;
  readonly labels: string;
}

/** Records read at a time by a list. */
const PAGE = 100;

export class SnapshotRecords {
  readonly #database: Database;
  /** The last number given out, by snapshotter and namespace. */
  readonly #sequences = new Map<string, number>();

  constructor(database: Database) {
    this.#database = database;
  }

  find(snapshotter: string, namespace: string, key: string): SnapshotRecord | undefined {
    const row = this.#database.get<Row>(
      "SELECT * FROM snapshots WHERE snapshotter = ? AND namespace = ? AND key = ?",
      snapshotter,
      namespace,
      key,
    );
    return row && recordOf(row);
  }

  /** A number for a backend key, never given out before: {@link insert} records it. */
  nextSequence(snapshotter: string, namespace: string): number {
    const name = `${namespace}/${snapshotter}`;
    const last = this.#sequences.get(name) ?? this.#lastSequence(snapshotter, namespace);
    this.#sequences.set(name, last + 1);
    return last + 1;
  }

  #lastSequence(snapshotter: string, namespace: string): number {
    const row = this.#database.get<{ last: number }>(
      "SELECT last FROM snapshot_sequences WHERE snapshotter = ? AND namespace = ?",
      snapshotter,
      namespace,
    );
    if (row !== undefined) return row.last;
    // The first of a namespace; or of a database that was saved from damage, where numbers in use tell.
    const used = this.#database.all<{ backend: string }>(
      "SELECT backend FROM snapshots WHERE snapshotter = ? AND namespace = ?",
      snapshotter,
      namespace,
    );
    return used.reduce((last, { backend }) => Math.max(last, Number(backend.split("/")[1]) || 0), 0);
  }

  insert(snapshotter: string, namespace: string, sequence: number, record: SnapshotRecord): void {
    this.#database.run(
      "INSERT INTO snapshots (snapshotter, namespace, key, parent, kind, backend, created_at, updated_at, labels) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
      snapshotter,
      namespace,
      record.key,
      record.parent,
      record.kind,
      record.backend,
      record.createdAt,
      record.updatedAt,
      encodeLabels(record.labels),
    );
    this.useSequence(snapshotter, namespace, sequence);
  }

  /** Records that a number was given out. */
  useSequence(snapshotter: string, namespace: string, sequence: number): void {
    this.#database.run(
      "INSERT INTO snapshot_sequences (snapshotter, namespace, last) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET last = max(last, ?3)",
      snapshotter,
      namespace,
      sequence,
    );
  }

  /** True when a namespace has, or ever had, snapshots of a snapshotter. */
  wereMade(snapshotter: string, namespace: string): boolean {
    return (
      this.#database.get(
        "SELECT 1 FROM snapshot_sequences WHERE snapshotter = ? AND namespace = ?",
        snapshotter,
        namespace,
      ) !== undefined
    );
  }

  relabel(snapshotter: string, namespace: string, key: string, labels: Labels): void {
    this.#database.run(
      "UPDATE snapshots SET labels = ?, updated_at = ? WHERE snapshotter = ? AND namespace = ? AND key = ?",
      encodeLabels(labels),
      nowMicros(),
      snapshotter,
      namespace,
      key,
    );
  }

  remove(snapshotter: string, namespace: string, key: string): void {
    this.#database.run(
      "DELETE FROM snapshots WHERE snapshotter = ? AND namespace = ? AND key = ?",
      snapshotter,
      namespace,
      key,
    );
  }

  hasChildren(snapshotter: string, namespace: string, key: string): boolean {
    return (
      this.#database.get(
        "SELECT 1 FROM snapshots WHERE snapshotter = ? AND namespace = ? AND parent = ? LIMIT 1",
        snapshotter,
        namespace,
        key,
      ) !== undefined
    );
  }

  /** How many records a snapshot of a snapshotter has. */
  countOfBackend(snapshotter: string, backend: string): number {
    return (
      this.#database.get<{ count: number }>(
        "SELECT count(*) AS count FROM snapshots WHERE snapshotter = ? AND backend = ?",
        snapshotter,
        backend,
      )?.count ?? 0
    );
  }

  /** All records of a namespace by key; others may write between two of them. */
  *pages(snapshotter: string, namespace: string): Iterable<SnapshotRecord> {
    for (let after = ""; ; ) {
      const rows = this.#database.all<Row>(
        "SELECT * FROM snapshots WHERE snapshotter = ? AND namespace = ? AND key > ? ORDER BY key LIMIT ?",
        snapshotter,
        namespace,
        after,
        PAGE,
      );
      for (const row of rows) yield recordOf(row);
      if (rows.length < PAGE) return;
      after = rows.at(-1)?.key ?? "";
    }
  }
}

function recordOf(row: Row): SnapshotRecord {
  const { key, parent, kind, backend, created_at, updated_at, labels } = row;
  return {
    key,
    parent,
    kind,
    backend,
    createdAt: created_at,
    updatedAt: updated_at,
    labels: decodeLabels(labels),
  };
}
