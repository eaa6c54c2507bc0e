/**
 * The database of metadata: SQLite in WAL mode, opened by one process alone.
 *
 * Invariants: a transaction is applied as a whole or not at all; what `commit` has resolved for survives a power cut.
 * SQLite itself runs with synchronous=NORMAL, under which a commit only writes to the log; `durable` then syncs the log
 * away from the event loop, once for all who wait at that moment. A checkpoint syncs by itself. (0.22 ms a commit, and
 * one sync for many at once, against 0.21 ms of a blocked loop with synchronous=FULL.)
 *
 * On a full disk removals still succeed: the log is made as long as it gets beforehand, and stays when the database is
 * closed; when even so there is no room, the reserve beside it is given up for a removal.
 */

import { constants, type SQLQueryBindings, Database as Sqlite, type Statement } from "bun:sqlite";
import { chmodSync, closeSync, fdatasync, openSync } from "node:fs";
import { dirname } from "node:path";
import { syncDirectory } from "./file.ts";
import { type Migration, migrate } from "./migration.ts";
import { diskFull, grow, isCreating, isFull, Reserve } from "./reserve.ts";

/** Room that the log needs until it goes into the database (after 1000 pages). */
const LOG_BYTES = 4.5 * 1024 * 1024;

/** What a statement may be given. */
export type Binding = string | number | bigint | Uint8Array | null;

/** What a transaction has done. */
export class Change {
  /** Tables from which rows were removed. */
  readonly deletedFrom = new Set<string>();
  /** True when rows were added. */
  hasInserted = false;
  /** True when something new was to be recorded. */
  isCreating = false;

  /** Notes a statement that has changed rows. */
  add(sql: string): void {
    const [, verb = "", table = ""] = /^\s*(INSERT|DELETE\s+FROM\s+(\w+))/i.exec(sql) ?? [];
    if (table !== "") this.deletedFrom.add(table);
    else if (verb !== "") this.hasInserted = true;
  }
}

/** An open database. */
export class Database {
  readonly #sqlite: Sqlite;
  readonly #wal: number;
  readonly #reserve: Reserve;
  readonly #statements = new Map<string, Statement<unknown, SQLQueryBindings[]>>();
  /** Where the file is. */
  readonly path: string;
  /** Resolves when everything committed before it was asked for is on disk. */
  #next: Promise<void> | undefined;
  /** True when a part of the log may not be on disk, and will not be. */
  #hasGap = false;
  readonly #watchers: ((change: Change) => void)[] = [];
  #depth = 0;
  #change = new Change();
  #current: Promise<void> = Promise.resolve();

  /**
   * Opens or creates the database, and brings its schema up to date.
   * @param reserve bytes that are kept for removals on a full disk
   * @throws Error when the file is no database, is damaged, or is of a later version than the migrations know
   */
  constructor(path: string, migrations: readonly Migration[], reserve?: number) {
    const sqlite = new Sqlite(path, { create: true, strict: true });
    try {
      // Specifications have secrets of containers in their environment. The log takes the mode of the database.
      chmodSync(path, 0o600);
      // One process alone: no shared memory, and a second one fails at once.
      sqlite.run("PRAGMA locking_mode = EXCLUSIVE");
      sqlite.run("PRAGMA journal_mode = WAL");
      sqlite.run("PRAGMA synchronous = NORMAL");
      sqlite.run("PRAGMA foreign_keys = ON");
      sqlite.run("PRAGMA temp_store = MEMORY");
      sqlite.fileControl(constants.SQLITE_FCNTL_PERSIST_WAL, 1);
      growLog(`${path}-wal`);
      migrate(sqlite, migrations);
      this.#reserve = new Reserve(`${path}.reserve`, reserve);
      this.#wal = openSync(`${path}-wal`, "r");
      // The log is a new file at every start: its name must survive before anything in it can.
      syncDirectory(dirname(path));
    } catch (error) {
      sqlite.close();
      throw error;
    }
    this.#sqlite = sqlite;
    this.path = path;
  }

  #statement(sql: string): Statement<unknown, SQLQueryBindings[]> {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#sqlite.query<unknown, SQLQueryBindings[]>(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  /** All rows of a query. `sql` must be a constant: statements are kept. */
  all<Row>(sql: string, ...bindings: Binding[]): Row[] {
    return this.#statement(sql).all(...bindings) as Row[];
  }

  /** The first row, if there is one. */
  get<Row>(sql: string, ...bindings: Binding[]): Row | undefined {
    return (this.#statement(sql).get(...bindings) as Row | null) ?? undefined;
  }

  /** Rows one by one. Nothing may be written before the iteration has ended. */
  iterate<Row>(sql: string, ...bindings: Binding[]): IterableIterator<Row> {
    return this.#statement(sql).iterate(...bindings) as IterableIterator<Row>;
  }

  /**
   * Runs a statement.
   * @returns how many rows it changed
   * @throws ContainerdError ResourceExhausted for something new, when the disk is full
   */
  run(sql: string, ...bindings: Binding[]): number {
    if (isCreating(sql)) {
      this.#change.isCreating = true;
      if (!this.#reserve.isHeld) throw diskFull(this.path);
    }
    try {
      const { changes } = this.#statement(sql).run(...bindings);
      if (changes > 0) this.#change.add(sql);
      return changes;
    } catch (error) {
      // Inside a transaction its end sees to it.
      throw this.#depth === 0 && isFull(error) ? diskFull(this.path, error) : error;
    }
  }

  /** The room that is kept for removals: how much in bytes, and whether it is there just now. */
  get reserve(): { readonly bytes: number; readonly isHeld: boolean } {
    return { bytes: this.#reserve.bytes, isHeld: this.#reserve.isHeld };
  }

  /** Tells `watcher` of every transaction that was applied. It must not throw. */
  watch(watcher: (change: Change) => void): void {
    this.#watchers.push(watcher);
  }

  /**
   * Runs `change` as one transaction (part of the outer one inside another); what it throws undoes it. On a full disk one
   * that records nothing new may be run twice.
   * @throws ContainerdError ResourceExhausted when the disk is full
   */
  transaction<T>(change: () => T): T {
    if (this.#depth > 0) return this.#sqlite.transaction(change)();
    let result: T;
    try {
      result = this.#outermost(change);
    } catch (error) {
      if (!isFull(error)) throw error;
      if (this.#change.isCreating || !this.#reserve.giveUp()) throw diskFull(this.path, error);
      result = this.#withReserve(change);
    }
    for (const watcher of this.#watchers) watcher(this.#change);
    return result;
  }

  #outermost<T>(change: () => T): T {
    this.#change = new Change();
    this.#depth++;
    try {
      return this.#sqlite.transaction(change)();
    } finally {
      this.#depth--;
    }
  }

  /** Runs a removal in the room that the reserve has left. */
  #withReserve<T>(change: () => T): T {
    try {
      // What is in the log goes into the database, and the log begins again.
      this.#sqlite.run("PRAGMA wal_checkpoint(PASSIVE)");
      return this.#outermost(change);
    } catch (error) {
      throw isFull(error) ? diskFull(this.path, error) : error;
    }
  }

  /** {@link transaction}, resolved when it will survive a power cut. */
  async commit<T>(change: () => T): Promise<T> {
    const result = this.transaction(change);
    await this.durable();
    return result;
  }

  /** Resolves when everything that was committed before this call is on disk. */
  durable(): Promise<void> {
    this.#next ??= this.#current
      .catch(() => undefined)
      .then(() => {
        this.#current = this.#next as Promise<void>;
        this.#next = undefined;
        return this.#syncLog();
      });
    return this.#next;
  }

  /**
   * A sync that failed does not fail again, and what it was for may be lost: the log then counts no more from there on,
   * and all of it has to go into the database before anything is durable.
   */
  async #syncLog(): Promise<void> {
    if (!this.#hasGap) {
      try {
        await new Promise<void>((resolve, reject) => {
          fdatasync(this.#wal, (error) => (error ? reject(error) : resolve()));
        });
        return;
      } catch {
        this.#hasGap = true;
      }
    }
    const outcome = this.get<{ busy: number }>("PRAGMA wal_checkpoint(RESTART)");
    if (outcome?.busy !== 0) throw new Error(`the log of ${this.path} cannot be written to disk`);
    this.#hasGap = false;
  }

  /** Writes the log into the database, and closes it. */
  close(): void {
    for (const statement of this.#statements.values()) statement.finalize();
    closeSync(this.#wal);
    // The log's file stays, for a start on a full disk; but its pages must not meet another database of this name.
    this.#sqlite.run("PRAGMA journal_size_limit = 0");
    this.#sqlite.close();
    growLog(`${this.path}-wal`);
  }
}

/** Takes the room that a log will need. SQLite ends reading a log where zeros begin. */
function growLog(path: string): void {
  try {
    grow(path, LOG_BYTES);
  } catch (error) {
    if (!isFull(error)) throw error;
  }
}
