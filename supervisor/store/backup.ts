/**
 * Keeps a copy of the database beside it, for the day on which the file itself is lost. The copy is of some time ago:
 * soon after images have changed, whose names nothing else on disk tells, and now and then after anything else has.
 *
 * While the file is copied it does not change: commits go to the log, and no checkpoint is made. Where one had to be,
 * for a disk that was full, the copy is not used.
 */

import { constants } from "node:fs";
import { copyFile, open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import type { Database } from "./database.ts";
import { syncDirectory } from "./file.ts";
import { namesOf, writeNames } from "./names.ts";

/** After a change of images, in milliseconds: long enough for a pull to be one change. */
const SOON_MS = 10_000;
/** After any other change: a busy node shall not wear its flash by copies. */
const LATER_MS = 600_000;

/** What a backup needs. */
export interface BackupOptions {
  readonly database: Pick<Database, "iterate" | "run" | "path" | "watch">;
  /** Where the copy is. */
  readonly path: string;
  /** Where the names of images are written. */
  readonly namesPath: string;
  readonly onError: (error: unknown) => void;
  readonly soonMs?: number;
  readonly laterMs?: number;
}

/** The backup of one database. */
export class Backup {
  readonly #options: BackupOptions;
  #timer: Timer | undefined;
  #due = Number.POSITIVE_INFINITY;
  #isClosed = false;
  /** The names of images as they were written last. */
  #names: string | undefined;
  #copying: Promise<void> | undefined;

  constructor(options: BackupOptions) {
    this.#options = options;
    options.database.watch(() => this.#arm(options.laterMs ?? LATER_MS));
  }

  /** Asks for a copy before long: something has changed that is nowhere else. */
  soon(): void {
    this.#arm(this.#options.soonMs ?? SOON_MS);
  }

  /** Makes a copy now. @throws NodeJS.ErrnoException when the disk is full, for example; the old copy then stays */
  now(): Promise<void> {
    this.#disarm();
    this.#copying ??= this.#copy().finally(() => {
      this.#copying = undefined;
    });
    return this.#copying;
  }

  /** Ends: a copy that is due is made. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const isDue = this.#timer !== undefined;
    this.#disarm();
    await this.#copying?.catch(() => undefined);
    if (isDue) await this.now().catch(this.#options.onError);
  }

  #arm(ms: number): void {
    const due = performance.now() + ms;
    if (this.#isClosed || due >= this.#due) return;
    this.#disarm();
    this.#due = due;
    this.#timer = setTimeout(() => this.now().catch(this.#options.onError), ms);
    this.#timer.unref();
  }

  #disarm(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#due = Number.POSITIVE_INFINITY;
  }

  async #copy(): Promise<void> {
    const { database, path, namesPath } = this.#options;
    const names = namesOf(database);
    if (names !== this.#names) await writeNames(namesPath, names);
    this.#names = names;
    const temporary = `${path}.tmp`;
    database.run("PRAGMA wal_checkpoint(PASSIVE)");
    database.run("PRAGMA wal_autocheckpoint = 0");
    try {
      const before = await stat(database.path, { bigint: true });
      await copyFile(database.path, temporary, constants.COPYFILE_FICLONE);
      const after = await stat(database.path, { bigint: true });
      if (before.mtimeNs !== after.mtimeNs) throw new Error(`${database.path} changed while it was copied`);
      const file = await open(temporary, "r+");
      await file.datasync().finally(() => file.close());
      await rename(temporary, path);
      syncDirectory(dirname(path));
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    } finally {
      database.run("PRAGMA wal_autocheckpoint = 1000");
    }
  }
}
