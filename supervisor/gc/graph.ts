/** The graph of things as the database has it: its nodes, table by table, and the references of one node. */

import { containerd } from "../../proto/gen/supervisor.js";
import { isPinned } from "../image/pinned.ts";
import type { Database } from "../store/database.ts";
import { decodeLabels, type Labels } from "../store/labels.ts";
import {
  backReferences,
  GC_LABELS,
  isExpired,
  isFlat,
  isRoot,
  type Node,
  references,
  snapshotNode,
  splitSnapshotKey,
} from "./node.ts";

/** What one row tells: the node it is (none for rows that only refer), and what it means to others. */
export interface Entry {
  readonly node: Node | undefined;
  /** Nodes that are kept because of this row alone. */
  readonly roots: readonly Node[];
  /** Nodes that keep this row's node. */
  readonly parents: readonly Node[];
}

/** Tables that the collector reads. */
export const tables = [
  "leases",
  "lease_resources",
  "images",
  "ingests",
  "blobs",
  "containers",
  "snapshots",
  "sandboxes",
] as const;
export type Table = (typeof tables)[number];

/** Which rows of a table may be removed by the collector, and are looked for when it sweeps. */
export const collectible = ["leases", "images", "ingests", "blobs", "snapshots"] as const satisfies readonly Table[];

/** The columns that name a row; their values, in order, are its {@link RowKey}. */
export const keyColumns: Readonly<Record<Table, readonly string[]>> = {
  leases: ["namespace", "id"],
  lease_resources: ["namespace", "lease", "type", "id"],
  images: ["namespace", "name"],
  ingests: ["namespace", "ref"],
  blobs: ["namespace", "digest"],
  containers: ["namespace", "id"],
  snapshots: ["snapshotter", "namespace", "key"],
  sandboxes: ["namespace", "id"],
};

/** The further columns that are read. */
const dataColumns: Readonly<Record<Table, readonly string[]>> = {
  leases: ["labels"],
  lease_resources: ["(SELECT labels FROM leases l WHERE l.namespace = t.namespace AND l.id = t.lease) AS labels"],
  images: ["labels", "digest"],
  ingests: ["expected", "expires_at"],
  blobs: ["labels"],
  containers: ["labels"],
  snapshots: ["labels", "parent"],
  sandboxes: ["record"],
};

export type RowKey = readonly string[];
type Row = Record<string, string | number | Uint8Array | null>;

const noLabels: Labels = {};

/** Reads the graph. What it reads is as it is at that moment: callers see to changes in between. */
export class Graph {
  readonly #database: Database;
  /** Things in memory that keep an ingest: its open writer. */
  readonly #hasWriter: (namespace: string, ref: string) => boolean;

  constructor(database: Database, hasWriter: (namespace: string, ref: string) => boolean) {
    this.#database = database;
    this.#hasWriter = hasWriter;
  }

  /**
   * The next rows of a table after a key.
   * @param now milliseconds since 1970, by which expirations are judged
   */
  page(
    table: Table,
    after: RowKey | undefined,
    limit: number,
    now: number,
  ): { entries: Entry[]; last: RowKey | undefined } {
    const keys = keyColumns[table];
    const condition = after === undefined ? "" : `WHERE (${keys.join(", ")}) > (${keys.map(() => "?").join(", ")})`;
    const rows = this.#database.all<Row>(
      `SELECT ${[...keys, ...dataColumns[table]].join(", ")} FROM ${table} t ${condition} ORDER BY ${keys.join(", ")} LIMIT ${limit}`,
      ...(after ?? []),
    );
    const last = rows.length < limit ? undefined : rows.at(-1);
    return {
      entries: rows.map((row) => this.#entry(table, row, now)),
      last: last && keys.map((column) => text(last, column)),
    };
  }

  /** One row; undefined when it is gone. */
  entry(table: Table, key: RowKey, now: number): Entry | undefined {
    const keys = keyColumns[table];
    const row = this.#database.get<Row>(
      `SELECT ${[...keys, ...dataColumns[table]].join(", ")} FROM ${table} t WHERE ${keys.map((column) => `${column} = ?`).join(" AND ")}`,
      ...key,
    );
    return row && this.#entry(table, row, now);
  }

  /** The things that a lease holds, as roots. */
  leased(namespace: string, lease: string, now: number): Node[] {
    return this.#database
      .all<Row>(
        `SELECT ${[...keyColumns.lease_resources, ...dataColumns.lease_resources].join(", ")} FROM lease_resources t
         WHERE namespace = ? AND lease = ?`,
        namespace,
        lease,
      )
      .flatMap((row) => [...this.#entry("lease_resources", row, now).roots]);
  }

  /** What a node keeps. */
  references(node: Node): Node[] {
    const { namespace, key, isFlat: flat = false } = node;
    switch (node.kind) {
      case "content": {
        const row = flat
          ? undefined
          : this.#row("SELECT labels FROM blobs WHERE namespace = ? AND digest = ?", namespace, key);
        return row ? references(namespace, labelsOf(row)) : [];
      }
      case "image": {
        const row = this.#row("SELECT labels, digest FROM images WHERE namespace = ? AND name = ?", namespace, key);
        if (row === undefined) return [];
        const target: Node = { kind: "content", namespace, key: text(row, "digest"), isFlat: flat };
        return flat ? [target] : [target, ...references(namespace, labelsOf(row))];
      }
      case "snapshot": {
        const { snapshotter, name } = splitSnapshotKey(key);
        const row = this.#row(
          "SELECT labels, parent FROM snapshots WHERE snapshotter = ? AND namespace = ? AND key = ?",
          snapshotter,
          namespace,
          name,
        );
        if (row === undefined) return [];
        const parent = text(row, "parent");
        const parents = parent === "" ? [] : [snapshotNode(namespace, snapshotter, parent, flat)];
        return flat ? parents : [...parents, ...references(namespace, labelsOf(row))];
      }
      case "ingest": {
        const row = this.#row("SELECT expected FROM ingests WHERE namespace = ? AND ref = ?", namespace, key);
        const expected = row ? text(row, "expected") : "";
        return expected === "" ? [] : [{ kind: "content", namespace, key: expected }];
      }
      case "container": {
        const row = this.#row(
          "SELECT labels, snapshotter, snapshot_key FROM containers WHERE namespace = ? AND id = ?",
          namespace,
          key,
        );
        if (row === undefined) return [];
        const snapshotter = text(row, "snapshotter");
        const own = snapshotter === "" ? [] : [snapshotNode(namespace, snapshotter, text(row, "snapshot_key"))];
        return [...own, ...references(namespace, labelsOf(row))];
      }
      case "lease":
        return [];
    }
  }

  #row(sql: string, ...key: string[]): Row | undefined {
    return this.#database.get<Row>(sql, ...key);
  }

  #entry(table: Table, row: Row, now: number): Entry {
    const namespace = text(row, "namespace");
    switch (table) {
      case "leases": {
        const node: Node = { kind: "lease", namespace, key: text(row, "id") };
        return { node, roots: isExpired(labelsOf(row), now) ? [] : [node], parents: [] };
      }
      case "lease_resources": {
        const labels = labelsOf(row);
        const held = isExpired(labels, now) ? undefined : resourceNode(namespace, row, isFlat(labels));
        return { node: undefined, roots: held ? [held] : [], parents: [] };
      }
      case "images": {
        const labels = labelsOf(row);
        const node: Node = { kind: "image", namespace, key: text(row, "name") };
        if (!isExpired(labels, now) || isPinned(labels)) return { node, roots: [node], parents: [] };
        return { node, roots: [], parents: backReferences(namespace, labels) };
      }
      case "ingests": {
        const ref = text(row, "ref");
        const node: Node = { kind: "ingest", namespace, key: ref };
        const isKept = Number(row["expires_at"]) > now * 1000 || this.#hasWriter(namespace, ref);
        return { node, roots: isKept ? [node] : [], parents: [] };
      }
      case "containers": {
        const node: Node = { kind: "container", namespace, key: text(row, "id") };
        return { node, roots: [node], parents: [] };
      }
      case "sandboxes":
        return { node: undefined, roots: references(namespace, sandboxLabels(row)), parents: [] };
      case "blobs":
        return labelled({ kind: "content", namespace, key: text(row, "digest") }, row);
      case "snapshots":
        return labelled(snapshotNode(namespace, text(row, "snapshotter"), text(row, "key")), row);
    }
  }
}

function labelled(node: Node, row: Row): Entry {
  const labels = labelsOf(row);
  return { node, roots: isRoot(labels) ? [node] : [], parents: backReferences(node.namespace, labels) };
}

function resourceNode(namespace: string, row: Row, isFlat: boolean): Node | undefined {
  const type = text(row, "type");
  const key = text(row, "id");
  if (type.startsWith("snapshots/")) return snapshotNode(namespace, type.slice("snapshots/".length), key, isFlat);
  if (type === "content") return { kind: "content", namespace, key, isFlat };
  if (type === "images") return { kind: "image", namespace, key, isFlat };
  if (type === "ingests") return { kind: "ingest", namespace, key };
  return undefined;
}

function text(row: Row, column: string): string {
  const value = row[column];
  return typeof value === "string" ? value : "";
}

/** Labels of a row, if any of them is the collector's: most have none, and need not be parsed. */
function labelsOf(row: Row): Labels {
  const labels = text(row, "labels");
  return labels.includes(GC_LABELS) ? decodeLabels(labels) : noLabels;
}

const { Sandbox } = containerd.types;

function sandboxLabels(row: Row): Labels {
  const record = row["record"];
  return hasLabel(record) ? Sandbox.decode(record).labels : noLabels;
}

function hasLabel(record: unknown): record is Uint8Array {
  return (
    record instanceof Uint8Array &&
    Buffer.from(record.buffer, record.byteOffset, record.byteLength).includes(GC_LABELS, 0, "latin1")
  );
}
