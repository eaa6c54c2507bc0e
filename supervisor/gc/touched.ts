/**
 * The write barrier: which rows were made or changed while the collector marks. Triggers of this connection alone write
 * them down, so that no room needs to know of it.
 */

import type { Database } from "../store/database.ts";
import { keyColumns, type RowKey, type Table, tables } from "./graph.ts";

/** A row that was made or changed. */
export interface TouchedRow {
  readonly table: Table;
  readonly key: RowKey;
}

/** Columns of the list; no table has more in its key. */
const columns = ["a", "b", "c", "d"] as const;

/** The barrier of one database. */
export class Touched {
  readonly #database: Database;

  /** Makes the triggers. They cost next to nothing while the barrier is down. */
  constructor(database: Database) {
    this.#database = database;
    database.run("CREATE TEMP TABLE gc_barrier (is_up INTEGER NOT NULL)");
    database.run("INSERT INTO gc_barrier VALUES (0)");
    database.run(`CREATE TEMP TABLE gc_touched (name TEXT NOT NULL, ${columns.map((c) => `${c} TEXT`).join(", ")})`);
    for (const table of tables) {
      const keys = keyColumns[table];
      const values = columns.map((_, index) => (keys[index] === undefined ? "NULL" : `new.${keys[index]}`));
      for (const change of ["INSERT", "UPDATE"]) {
        database.run(
          `CREATE TEMP TRIGGER gc_${table}_${change.toLowerCase()} AFTER ${change} ON main.${table}
           WHEN (SELECT is_up FROM gc_barrier)
           BEGIN INSERT INTO gc_touched VALUES ('${table}', ${values.join(", ")}); END`,
        );
      }
    }
  }

  /** Begins to write down changes. */
  raise(): void {
    this.#database.run("DELETE FROM temp.gc_touched");
    this.#database.run("UPDATE temp.gc_barrier SET is_up = 1");
  }

  /** Ends it. */
  lower(): void {
    this.#database.run("UPDATE temp.gc_barrier SET is_up = 0");
    this.#database.run("DELETE FROM temp.gc_touched");
  }

  /** The rows since the last time, each once. */
  take(): TouchedRow[] {
    const rows = this.#database.all<Record<string, string>>("SELECT DISTINCT name, a, b, c, d FROM temp.gc_touched");
    if (rows.length === 0) return [];
    this.#database.run("DELETE FROM temp.gc_touched");
    return rows.map((row) => {
      const table = row["name"] as Table;
      return { table, key: columns.slice(0, keyColumns[table].length).map((column) => row[column] ?? "") };
    });
  }
}
