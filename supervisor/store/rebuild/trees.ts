/**
 * Directories of snapshots without a record. Which is over which is told by overlays that are mounted; the rest is kept
 * under a name that says where it comes from, and nothing of it is collected.
 */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { backendKey } from "../../snapshot/info.ts";
import { encodeLabels } from "../labels.ts";
import { nowMicros } from "../time.ts";
import { rebuiltLabel } from "./bundles.ts";
import type { RebuildOptions } from "./rebuild.ts";

const ACTIVE = 2;
const COMMITTED = 3;

/** An overlay on the rootfs of a container. */
interface Overlay {
  readonly namespace: string;
  readonly container: string;
  /** Ids of directories: the upper one, then the lower ones, topmost first. */
  readonly ids: readonly number[];
}

/** Adds records for directories that have files and no record. */
export function adoptTrees({ database, root, state }: RebuildOptions): void {
  const now = nowMicros();
  const home = (
    database.get<{ name: string }>("SELECT name FROM namespaces ORDER BY name = 'default' DESC") ?? { name: "default" }
  ).name;
  const labels = encodeLabels({ "containerd.io/gc.root": new Date(now / 1000).toISOString(), [rebuiltLabel]: "true" });
  let sequence = database.get<{ last: number }>("SELECT max(last) AS last FROM snapshot_sequences")?.last ?? 0;

  const nameOf = (id: number): string | undefined =>
    database.get<{ key: string }>(
      "SELECT s.key FROM snapshots s JOIN trees t ON t.snapshotter = s.snapshotter AND t.key = s.backend WHERE t.id = ?",
      id,
    )?.key;

  const adopt = (
    snapshotter: string,
    namespace: string,
    id: number,
    key: string,
    parent: number | undefined,
    kind: number,
  ): void => {
    if (database.get("SELECT 1 FROM trees WHERE id = ?", id) !== undefined) return;
    sequence++;
    const backend = backendKey(namespace, sequence, key);
    database.run(
      `INSERT OR IGNORE INTO trees (id, snapshotter, key, parent, kind, size, inodes, created_at, updated_at, labels)
       VALUES (?, ?, ?, ?, ?, 0, 0, ?, ?, '{}')`,
      id,
      snapshotter,
      backend,
      parent ?? null,
      kind,
      now,
      now,
    );
    database.run(
      `INSERT OR IGNORE INTO snapshots (snapshotter, namespace, key, parent, kind, backend, created_at, updated_at, labels)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      snapshotter,
      namespace,
      key,
      parent === undefined ? "" : (nameOf(parent) ?? ""),
      kind,
      backend,
      now,
      now,
      labels,
    );
    database.run(
      "INSERT OR REPLACE INTO snapshot_sequences (snapshotter, namespace, last) VALUES (?, ?, ?)",
      snapshotter,
      namespace,
      sequence,
    );
  };

  database.transaction(() => {
    const overlayfs = join(root, "io.containerd.snapshotter.v1.overlayfs/snapshots");
    for (const { namespace, container, ids } of mountedOverlays(overlayfs, state)) {
      // From the lowest up, so that a parent has its record first.
      for (let at = ids.length - 1; at >= 0; at--) {
        const id = ids[at] ?? 0;
        adopt(
          "overlayfs",
          namespace,
          id,
          at === 0 ? container : `rebuilt-${id}`,
          ids[at + 1],
          at === 0 ? ACTIVE : COMMITTED,
        );
      }
    }
    for (const snapshotter of ["overlayfs", "native"]) {
      const directory = join(root, `io.containerd.snapshotter.v1.${snapshotter}/snapshots`);
      for (const id of idsWithFiles(directory, snapshotter === "overlayfs" ? "fs" : "")) {
        adopt(snapshotter, home, id, `rebuilt-${id}`, undefined, ACTIVE);
      }
    }
  });
}

/**
 * Makes the marks of layers that were not on disk yet right again. Under a container they were: it was made only then.
 * What rows that are not all of one file say of a boot is worth nothing: the others are taken back by the start that
 * follows. What is adopted from disk counts as synced, for it is a container's, or active.
 * @param isMixed rows do not all come from the damaged file
 */
export function settleTrees({ database }: RebuildOptions, isMixed: boolean): void {
  database.transaction(() => {
    database.run(
      `WITH RECURSIVE used (id, parent) AS (
         SELECT t.id, t.parent FROM containers c
         JOIN snapshots s ON s.snapshotter = c.snapshotter AND s.namespace = c.namespace AND s.key = c.snapshot_key
         JOIN trees t ON t.snapshotter = s.snapshotter AND t.key = s.backend
         UNION SELECT t.id, t.parent FROM trees t JOIN used u ON t.id = u.parent)
       UPDATE trees SET synced = 1 WHERE synced IN (0, 3) AND id IN (SELECT id FROM used)`,
    );
    if (isMixed) database.run("DELETE FROM boots");
  });
}

/** Removes records of directories that are gone: a copy of the database may be of before they went. */
export function dropTrees({ database, root }: RebuildOptions): void {
  const trees = database.all<{ id: number; snapshotter: string }>(
    "SELECT id, snapshotter FROM trees WHERE kind IN (?, ?) AND snapshotter IN ('overlayfs', 'native')",
    ACTIVE,
    COMMITTED,
  );
  database.transaction(() => {
    for (const { id, snapshotter } of trees) {
      const directory = join(root, `io.containerd.snapshotter.v1.${snapshotter}/snapshots/${id}`);
      if (!existsSync(directory)) database.run("DELETE FROM trees WHERE id = ?", id);
    }
  });
}

/** Overlays of this snapshotter that are mounted on bundles of this state. */
function mountedOverlays(snapshots: string, state: string): Overlay[] {
  const bundles = join(state, "io.containerd.runtime.v2.task");
  const found: Overlay[] = [];
  for (const line of readFileSync("/proc/self/mountinfo", "utf8").split("\n")) {
    const point = line.split(" ")[4] ?? "";
    const [, namespace = "", container = ""] =
      (point.startsWith(`${bundles}/`) && /^\/([^/]+)\/([^/]+)\/rootfs$/.exec(point.slice(bundles.length))) || [];
    const options = line.split(" - overlay ")[1];
    if (options === undefined || container === "") continue;
    const upper = /(?:^|,)upperdir=([^,]*)/.exec(options)?.[1] ?? "";
    const lower = /(?:^|[ ,])lowerdir=([^,]*)/.exec(options)?.[1] ?? "";
    const ids = [upper, ...lower.split(":")].map((path) => idOf(snapshots, path));
    // Lower directories may be given relative to where the mount was made: then they end in N/fs as well.
    if (ids.every((id) => id !== undefined)) found.push({ namespace, container, ids });
  }
  return found;
}

function idOf(snapshots: string, path: string): number | undefined {
  const [, id] = /(?:^|\/)(\d+)\/fs$/.exec(path) ?? [];
  if (path.startsWith("/") && !path.startsWith(`${snapshots}/`)) return undefined;
  return id === undefined ? undefined : Number(id);
}

/** Ids of directories that have something in them: those made in advance are empty. */
function idsWithFiles(directory: string, files: string): number[] {
  const names = listOf(directory).filter((name) => /^[1-9]\d*$/.test(name));
  return names.map(Number).filter((id) => listOf(join(directory, String(id), files)).length > 0);
}

function listOf(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
