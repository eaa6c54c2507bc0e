/** Reads what can still be read of a database file. */

import { Database as Sqlite } from "bun:sqlite";
import { ContainerdError } from "../../../proto/errdefs.ts";
import type { Binding, Database } from "../database.ts";
import { isFull } from "../reserve.ts";

type Row = Record<string, Binding>;

/** Rows that are written in one transaction. */
const BATCH = 1000;

/** The tables of a database. */
export function tablesOf(database: Database): string[] {
  return database
    .all<{ name: string }>(
      "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    )
    .map(({ name }) => name);
}

/**
 * Copies rows from a file that may be damaged; those that are there already stay as they are.
 * @param path of a file that is moved aside: it may be changed
 * @returns the tables that could be read to their end
 * @throws ContainerdError ResourceExhausted when there is no room for the rows
 */
export function salvage(database: Database, path: string, tables: readonly string[]): string[] {
  let source: Sqlite;
  try {
    source = new Sqlite(path, { readwrite: true, create: false });
  } catch {
    return [];
  }
  try {
    return tables.filter((table) => salvageTable(database, source, table));
  } finally {
    try {
      source.close();
    } catch {
      // It is damaged.
    }
  }
}

function salvageTable(database: Database, source: Sqlite, table: string): boolean {
  const columns = columnsOf(database, source, table);
  if (columns.length === 0) return false;
  const insert = `INSERT OR IGNORE INTO ${table} (${columns.join(", ")}) VALUES (${columns.map(() => "?").join(", ")})`;
  const take = (rows: readonly Row[]): void =>
    database.transaction(() => {
      for (const row of rows) {
        try {
          database.run(insert, ...columns.map((column) => row[column] ?? null));
        } catch (error) {
          // A value that the table does not take: the row was damaged. A disk without room takes none.
          if (error instanceof ContainerdError || isFull(error)) throw error;
        }
      }
    });
  // From both ends: what is broken in the middle then costs the least.
  return ["ASC", "DESC"].some((order) => {
    let rows: Row[] = [];
    try {
      const select = `SELECT ${columns.join(", ")} FROM ${table} ORDER BY ${keyOf(source, table)} ${order}`;
      for (const row of source.query<Row, []>(select).iterate()) {
        if (rows.push(row) < BATCH) continue;
        take(rows);
        rows = [];
      }
      return true;
    } catch {
      return false;
    } finally {
      take(rows);
    }
  });
}

/** The columns that both have. */
function columnsOf(database: Database, source: Sqlite, table: string): string[] {
  try {
    const theirs = new Set(
      source
        .query<{ name: string }, []>(`PRAGMA table_info(${table})`)
        .all()
        .map(({ name }) => name),
    );
    const ours = database.all<{ name: string }>(`PRAGMA table_info(${table})`).map(({ name }) => name);
    return ours.filter((name) => theirs.has(name));
  } catch {
    return [];
  }
}

/** What a table is kept in the order of, so that no index is needed to read it. */
function keyOf(source: Sqlite, table: string): string {
  const schema = source.query<{ sql: string }, [string]>("SELECT sql FROM sqlite_schema WHERE name = ?").get(table);
  if (schema?.sql.includes("WITHOUT ROWID") !== true) return "rowid";
  const key = source.query<{ name: string; pk: number }, []>(`PRAGMA table_info(${table})`).all();
  return key.filter(({ pk }) => pk > 0).sort((a, b) => a.pk - b.pk)[0]?.name ?? "1";
}
