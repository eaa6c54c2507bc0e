/**
 * Opens the database of a daemon. One that is damaged, empty or missing is moved aside and made anew from what is left:
 * the rows that can still be read, the copy that {@link Backup} keeps, and what is on disk.
 */

import { Database as Sqlite } from "bun:sqlite";
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { messageOf } from "../../proto/errdefs.ts";
import { Database } from "./database.ts";
import { syncDirectory, writeDurably } from "./file.ts";
import { migrate } from "./migration.ts";
import { rebuild } from "./rebuild/rebuild.ts";
import { migrations } from "./schema.ts";

/** Name of the database below the root. */
const FILE = "berth.db";
/** The copy of it that {@link Backup} keeps. */
export const BACKUP = `${FILE}.backup`;

/** Where a daemon has its things, and whom it tells. */
export interface OpenOptions {
  readonly root: string;
  readonly state: string;
  /** Bytes that are kept for removals on a full disk; the least that is of use when not given. */
  readonly reserve?: number;
  readonly log: {
    warn(message: string, fields?: Readonly<Record<string, string | number>>): void;
    info(message: string, fields?: Readonly<Record<string, string | number>>): void;
  };
}

/**
 * Opens the database below `root`, or makes it. While it is made anew a file says so: what a crash has left of that is
 * thrown away and made again, since whatever it does not tell of would be removed as garbage.
 * @throws Error when it is in use, of a later version, or the disk does not do what it is told
 */
export async function openDatabase(options: OpenOptions): Promise<Database> {
  const path = join(options.root, FILE);
  const mark = `${path}.rebuilding`;
  if (existsSync(mark)) {
    options.log.warn("the database was being built anew when berthd ended", { path });
  } else {
    if (isThere(path)) {
      const opened = openWhole(path, options.reserve);
      if (opened instanceof Database) return opened;
      options.log.warn("the database is damaged", { path, error: opened });
    } else {
      if (!hasThings(options.root)) return new Database(path, migrations, options.reserve);
      options.log.warn("the database is missing, but not what it tells of", { path });
    }
    const target = asideOf(path);
    // Without the file its log is of no use here, but may be to a person.
    if (!existsSync(path)) moveAside(path, target);
    writeDurably(mark, existsSync(path) ? target : "");
  }
  const damaged = readFileSync(mark, "utf8") || undefined;
  moveAside(path, damaged);
  const database = new Database(path, migrations, options.reserve);
  try {
    const found = rebuild({
      ...options,
      database,
      damaged,
      backup: [join(options.root, BACKUP)].find(isThere),
    });
    await database.durable();
    rmSync(mark);
    syncDirectory(options.root);
    options.log.warn("the database was built anew", { ...found, ...(damaged === undefined ? {} : { damaged }) });
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

/** The database, or what is wrong with it. */
function openWhole(path: string, reserve: number | undefined): Database | string {
  let database: Database;
  try {
    database = new Database(path, migrations, reserve);
  } catch (error) {
    if (isDamage(error)) return messageOf(error);
    throw error;
  }
  try {
    const [row] = database.all<{ quick_check: string }>("PRAGMA quick_check(1)");
    const problem = row?.quick_check === "ok" ? schemaProblem(database) : (row?.quick_check ?? "it cannot be checked");
    if (problem === undefined) return database;
    closeQuietly(database);
    return problem;
  } catch (error) {
    closeQuietly(database);
    if (isDamage(error)) return messageOf(error);
    throw error;
  }
}

/** What is missing or other than the version of the schema says: its rows are taken over, as from a damaged one. */
function schemaProblem(database: Database): string | undefined {
  const schema = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY name";
  const model = new Sqlite(":memory:");
  try {
    migrate(model, migrations);
    const found = new Map(database.all<{ name: string; sql: string }>(schema).map(({ name, sql }) => [name, sql]));
    const other = model
      .query<{ name: string; sql: string }, []>(schema)
      .all()
      .find(({ name, sql }) => found.get(name) !== sql);
    return other === undefined ? undefined : `table or index ${other.name} is not that of version ${migrations.length}`;
  } finally {
    model.close();
  }
}

/** A damaged file may not be closed well either. */
function closeQuietly(database: Database): void {
  try {
    database.close();
  } catch {
    // It is moved aside anyway.
  }
}

/** What SQLite says of files that are none of its own, or no longer whole. */
function isDamage(error: unknown): boolean {
  const code = String((error as { code?: unknown }).code ?? "");
  return /^SQLITE_(?:CORRUPT|NOTADB|IOERR_SHORT_READ)/.test(code);
}

function isThere(path: string): boolean {
  try {
    return statSync(path).size > 0;
  } catch {
    return false;
  }
}

/** True when a root has what only a database could have told of: this is not a first start. */
function hasThings(root: string): boolean {
  const places = [
    "io.containerd.content.v1.content/blobs/sha256",
    "io.containerd.snapshotter.v1.overlayfs/snapshots",
    "io.containerd.snapshotter.v1.native/snapshots",
  ];
  return isThere(join(root, BACKUP)) || places.some((place) => isNotEmpty(join(root, place)));
}

function isNotEmpty(directory: string): boolean {
  try {
    return readdirSync(directory).length > 0;
  } catch {
    return false;
  }
}

/** Where a damaged database is moved. */
function asideOf(path: string): string {
  return `${path}.damaged-${new Date().toISOString().replaceAll(":", "").replace(/\..*/, "Z")}`;
}

/**
 * Moves the database to `target`, the file itself last: when that is there, what is in its old place is a half made new
 * one, and goes, as it does without a target.
 */
function moveAside(path: string, target: string | undefined): void {
  const isMoved = target === undefined || existsSync(target);
  for (const end of ["-shm", "-wal", ""]) {
    if (isMoved) rmSync(path + end, { force: true });
    else if (existsSync(path + end)) renameSync(path + end, target + end);
  }
  syncDirectory(dirname(path));
}
