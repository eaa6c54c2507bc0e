/**
 * What a start does about layers that were committed and are not known to be on disk. The page cache outlives the daemon,
 * not the kernel: after another boot they are taken back, and their images unpacked again when they are used.
 */

import { readFileSync } from "node:fs";
import type { Log } from "../log/log.ts";
import type { Database } from "../store/database.ts";

/**
 * What `trees.synced` says: not known to be on disk yet; on disk; the disk refused it; being synced. What that last one
 * came to died with a daemon: the kernel tells of a write that failed once, so a second sync would prove nothing.
 */
export const Synced = { no: 0, yes: 1, lost: 2, begun: 3 } as const;

/** A tree that is taken back. */
interface Row {
  readonly id: number;
  readonly snapshotter: string;
  readonly key: string;
}

/** The id of this boot of the kernel; another one each time where there is none, so that nothing is trusted. */
export function bootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    return crypto.randomUUID();
  }
}

/**
 * Takes back what a power cut may have damaged, with all that is made of it: records here, durable before the snapshotters
 * remove directories without one ({@link Directories.sweep}). Those of the same boot that nobody has begun to sync stay.
 * @returns keys in the snapshotters of what was taken back
 */
export function takeBack(database: Database, boot: string, log: Pick<Log, "warn">): string[] {
  return database.transaction(() => {
    const before = database.get<{ id: string }>("SELECT id FROM boots")?.id;
    const least = before === boot ? Synced.lost : Synced.no;
    const rows = database.all<Row>(
      `WITH RECURSIVE gone (id) AS (
         SELECT id FROM trees WHERE synced <> 1 AND synced >= ?
         UNION SELECT t.id FROM trees t JOIN gone g ON t.parent = g.id)
       SELECT t.id, t.snapshotter, t.key FROM trees t JOIN gone USING (id) ORDER BY t.id`,
      least,
    );
    for (const { snapshotter, key } of rows) {
      database.run(
        `DELETE FROM lease_resources WHERE type = 'snapshots/' || ?1 AND EXISTS (SELECT 1 FROM snapshots s
         WHERE s.snapshotter = ?1 AND s.backend = ?2 AND s.namespace = lease_resources.namespace AND s.key = lease_resources.id)`,
        snapshotter,
        key,
      );
      database.run("DELETE FROM snapshots WHERE snapshotter = ? AND backend = ?", snapshotter, key);
    }
    if (rows.length > 0) {
      // All in one statement: only at its end must every tree that is left have its parent.
      database.run(
        "DELETE FROM trees WHERE id IN (SELECT value FROM json_each(?))",
        JSON.stringify(rows.map(({ id }) => id)),
      );
      log.warn(
        "layers that may not be whole on disk are taken back; their images are unpacked again when they are used",
        {
          snapshots: rows.map(({ snapshotter, key }) => `${snapshotter} ${key}`),
        },
      );
    }
    if (before !== boot) {
      database.run("DELETE FROM boots");
      database.run("INSERT INTO boots (id) VALUES (?)", boot);
    }
    return rows.map(({ snapshotter, key }) => `${snapshotter} ${key}`);
  });
}
