/** The schema's versions: each migration brings a database from one version to the next, and never changes again. */

import type { Database as Sqlite } from "bun:sqlite";

/** SQL that brings the schema one version further. */
export type Migration = string;

/**
 * Brings a database up to date, one transaction a version.
 * @throws Error when the database is of a later version than there are migrations
 */
export function migrate(sqlite: Sqlite, migrations: readonly Migration[]): void {
  const row = sqlite.query("PRAGMA user_version").get() as { user_version: number };
  if (row.user_version > migrations.length) {
    throw new Error(
      `the database has schema version ${row.user_version}, this berthd knows ${migrations.length}: install the newer berthd again`,
    );
  }
  for (let version = row.user_version; version < migrations.length; version++) {
    sqlite.transaction(() => {
      sqlite.run(migrations[version] ?? "");
      sqlite.run(`PRAGMA user_version = ${version + 1}`);
    })();
  }
}
