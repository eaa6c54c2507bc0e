/**
 * Fills a new database after the old one was lost. What is tried, best first, table by table: the rows of the damaged
 * file; the rows of the backup, for tables that could not be read to their end; and for these also what lies on disk.
 * What is taken from disk is kept from collection until a person or a client removes it.
 */

import type { Database } from "../database.ts";
import { readNames } from "../names.ts";
import type { OpenOptions } from "../open.ts";
import { adoptBlobs, dropBlobs } from "./blobs.ts";
import { adoptBundles } from "./bundles.ts";
import { salvage, tablesOf } from "./salvage.ts";
import { adoptTrees, dropTrees, settleTrees } from "./trees.ts";

/** What a database is rebuilt from. */
export interface RebuildOptions extends OpenOptions {
  /** The new one, empty. */
  readonly database: Database;
  /** The old file, moved aside. */
  readonly damaged: string | undefined;
  readonly backup: string | undefined;
}

/** How many of each kind the new database has; names are those of a log line. */
export type Rebuilt = Readonly<Record<"namespaces" | "images" | "blobs" | "snapshots" | "containers", number>>;

/** Rebuilds. @returns what there is now */
export function rebuild(options: RebuildOptions): Rebuilt {
  const { database, damaged, backup, log } = options;
  const lost = new Set(tablesOf(database));
  // Rows come in any order; what refers to nothing is sorted out at the end.
  database.run("PRAGMA foreign_keys = OFF");
  for (const source of [damaged, backup]) {
    if (source === undefined || lost.size === 0) continue;
    for (const table of salvage(database, source, [...lost])) lost.delete(table);
    log.info("rows were taken from a file", { path: source, incomplete: lost.size });
    // The backup is whole, but of earlier: what has come since is looked for on disk.
    if (source === damaged) continue;
    for (const table of tablesOf(database)) lost.add(table);
  }
  dropTrees(options);
  dropBlobs(options);
  settleTrees(options, lost.has("trees"));
  if (lost.has("trees") || lost.has("snapshots")) adoptTrees(options);
  if (lost.has("containers")) adoptBundles(options);
  if (lost.has("images")) readNames(database, options.root);
  if (lost.has("blobs")) adoptBlobs(options);
  sortOut(database);
  database.run("PRAGMA foreign_keys = ON");
  const count = (table: keyof Rebuilt): number =>
    database.get<{ count: number }>(`SELECT count(*) AS count FROM ${table}`)?.count ?? 0;
  return {
    namespaces: count("namespaces"),
    images: count("images"),
    blobs: count("blobs"),
    snapshots: count("snapshots"),
    containers: count("containers"),
  };
}

/** Removes what refers to what is lost, and makes namespaces for what has none. */
function sortOut(database: Database): void {
  database.transaction(() => {
    database.run(
      `DELETE FROM lease_resources WHERE NOT EXISTS
       (SELECT 1 FROM leases l WHERE l.namespace = lease_resources.namespace AND l.id = lease_resources.lease)`,
    );
    let removed: number;
    do {
      removed = database.run("DELETE FROM trees WHERE parent IS NOT NULL AND parent NOT IN (SELECT id FROM trees)");
    } while (removed > 0);
    database.run(
      `DELETE FROM snapshots WHERE snapshotter IN ('overlayfs', 'native') AND NOT EXISTS
       (SELECT 1 FROM trees t WHERE t.snapshotter = snapshots.snapshotter AND t.key = snapshots.backend)`,
    );
    for (const table of ["containers", "images", "leases", "sandboxes", "blobs", "snapshots", "mounts"]) {
      database.run(`INSERT OR IGNORE INTO namespaces (name, labels) SELECT DISTINCT namespace, '{}' FROM ${table}`);
    }
    database.run("UPDATE namespaces SET kinds = 3");
  });
}
