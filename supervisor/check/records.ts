/** What the daemon has on record, in the columns that a check needs. */

import type { Binding } from "../store/database.ts";

/** Queries by the name of what they give. */
const queries = {
  blobs: "SELECT namespace, digest, size FROM blobs",
  suspects: "SELECT digest, state FROM blob_suspects WHERE digest <> ''",
  ingests: "SELECT namespace, ref, name FROM ingests",
  images: "SELECT namespace, name, digest FROM images",
  containers: "SELECT namespace, id, snapshotter, snapshot_key, image FROM containers",
  snapshots: "SELECT snapshotter, namespace, key, parent, kind, backend FROM snapshots",
  trees: "SELECT id, snapshotter, key, parent, kind, synced FROM trees",
} as const;

/** Rows of one moment. */
export interface CheckRecords {
  readonly blobs: readonly { readonly namespace: string; readonly digest: string; readonly size: number }[];
  /** state 1: to be hashed before use; 2: damaged, and answered as not found. */
  readonly suspects: readonly { readonly digest: string; readonly state: number }[];
  readonly ingests: readonly { readonly namespace: string; readonly ref: string; readonly name: string }[];
  readonly images: readonly { readonly namespace: string; readonly name: string; readonly digest: string }[];
  readonly containers: readonly {
    readonly namespace: string;
    readonly id: string;
    readonly snapshotter: string;
    readonly snapshot_key: string;
    readonly image: string;
  }[];
  /** kind: 1 view, 2 active, 3 committed. */
  readonly snapshots: readonly {
    readonly snapshotter: string;
    readonly namespace: string;
    readonly key: string;
    readonly parent: string;
    readonly kind: number;
    readonly backend: string;
  }[];
  readonly trees: readonly {
    readonly id: number;
    readonly snapshotter: string;
    readonly key: string;
    readonly parent: number | null;
    readonly kind: number;
    /** 1: on disk; 0 and 3: that is not known yet; 2: the disk refused it. */
    readonly synced: number;
  }[];
}

/** Reads all records of one moment. */
export function readRecords(database: {
  all<Row>(sql: string, ...bindings: Binding[]): Row[];
  transaction<T>(body: () => T): T;
}): CheckRecords {
  return database.transaction(
    () => Object.fromEntries(Object.entries(queries).map(([name, sql]) => [name, database.all(sql)])) as never,
  );
}
