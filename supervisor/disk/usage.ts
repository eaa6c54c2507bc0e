/** What takes room, by kind. */

import type { Database } from "../store/database.ts";
import { logFiles } from "./logs.ts";
import type { DiskRoom } from "./room.ts";

/** One kind of things. */
export interface Part {
  /** content, snapshots, logs; evictable-images and evictable-logs are among them. */
  readonly kind: string;
  readonly count: number;
  readonly bytes: number;
}

/** Counts blobs and committed snapshots by their records, logs by their files. */
export async function usage(
  database: Pick<Database, "get">,
  disk: Pick<DiskRoom, "evictable" | "logDirectories">,
): Promise<Part[]> {
  const sum = (kind: string, sql: string): Part => {
    const { count = 0, bytes } = database.get<{ count: number; bytes: number | null }>(sql) ?? {};
    return { kind, count, bytes: bytes ?? 0 };
  };
  const total = (kind: string, things: readonly { readonly bytes: number }[]): Part => ({
    kind,
    count: things.length,
    bytes: things.reduce((all, { bytes }) => all + bytes, 0),
  });
  const logs = (await Promise.all(disk.logDirectories.map(logFiles))).flat();
  const evictable = await disk.evictable();
  return [
    sum("content", "SELECT COUNT(*) AS count, SUM(size) AS bytes FROM (SELECT DISTINCT digest, size FROM blobs)"),
    sum("snapshots", "SELECT COUNT(*) AS count, SUM(size) AS bytes FROM trees"),
    total("logs", logs),
    total(
      "evictable-images",
      evictable.filter(({ kind }) => kind === "image"),
    ),
    total(
      "evictable-logs",
      evictable.filter(({ kind }) => kind === "log"),
    ),
  ];
}
