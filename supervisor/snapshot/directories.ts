/**
 * The directories of a snapshotter's trees: `<root>/snapshots/<id>`, as containerd has them.
 *
 * Invariants: ids grow and are never used again. A directory is on disk before its record is; a record is gone before its
 * directory is. So a directory without a record is waste, but for those that this process is about to use, and a record without a
 * directory is damage.
 */

import { closeSync, fsyncSync, mkdirSync, openSync, readdirSync } from "node:fs";
import { chmod, mkdir, open, readdir, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { detach, mountsBelow } from "../../shim/linux/index.ts";
import type { Log } from "../log/log.ts";

/** Begins the name of a directory whose removal has begun. */
const REMOVED = "removed-";
/** Directories that may wait for their removal before those who remove more have to wait. */
const MAX_WAITING = 1000;
/** How long closing waits for removals. */
const CLOSE_MS = 300;
/** Directories made in advance: at first, and at most. */
const MIN_SPARE = 4;
const MAX_SPARE = 32;

/** Numbers for trees, one row of them for all snapshotters. */
export class TreeIds {
  #last: number;

  /** @param last the highest that has a record, or had one */
  constructor(last: number) {
    this.#last = last;
  }

  next(): number {
    return ++this.#last;
  }

  /** Says that a number has been used. */
  use(id: number): void {
    this.#last = Math.max(this.#last, id);
  }
}

/** How a new directory looks, whatever it will be used for. */
export interface Skeleton {
  readonly mode: number;
  /** Directories in it, with their modes. */
  readonly entries: readonly (readonly [name: string, mode: number])[];
}

/** What a directory set is made of. */
export interface DirectoriesOptions {
  /** The snapshotter's, made if it is not there. */
  readonly root: string;
  readonly ids: TreeIds;
  readonly skeleton: Skeleton;
  readonly log: Pick<Log, "warn">;
}

/** The directories of one snapshotter. */
export class Directories {
  readonly #root: string;
  readonly #log: Pick<Log, "warn">;
  readonly #ids: TreeIds;
  readonly #skeleton: Skeleton;
  /** Ids whose directory is on disk and whose record is not, yet. */
  readonly #unrecorded = new Set<number>();
  /** Made in advance: syncing a directory takes longer than all the rest of a Prepare, and is as long for many. */
  readonly #spare: number[] = [];
  /** How many there shall be. */
  #target = MIN_SPARE;
  #waiting = 0;
  #making: Promise<void> | undefined;
  readonly #removals: string[] = [];
  #remover: Promise<void> | undefined;

  constructor({ root, ids, skeleton, log }: DirectoriesOptions) {
    this.#root = `${root}/snapshots`;
    if (mkdirSync(this.#root, { recursive: true, mode: 0o700 }) !== undefined) {
      for (const path of [root, dirname(root)]) syncNow(path);
    }
    this.#log = log;
    this.#ids = ids;
    this.#skeleton = skeleton;
    for (const name of readdirSync(this.#root)) ids.use(idOf(name) ?? 0);
  }

  /** The directory of a tree. */
  path(id: number): string {
    return `${this.#root}/${id}`;
  }

  /** An id for a tree that needs no directory. */
  bareId(): number {
    return this.#ids.next();
  }

  /**
   * A directory, on disk, that looks like the skeleton. {@link recorded} or {@link retire} must be called for it.
   * @returns its id
   * @throws Error when it cannot be made
   */
  async take(): Promise<number> {
    this.#waiting++;
    try {
      while (this.#spare.length === 0) await this.#make();
    } finally {
      this.#waiting--;
    }
    const id = this.#spare.shift() as number;
    // Twice as many each time that somebody had to wait; the next ones are made while this one is put to use.
    if (this.#waiting > 0) this.#target = Math.min(2 * this.#target, MAX_SPARE);
    if (4 * this.#spare.length <= this.#target) this.#make().catch(() => undefined);
    return id;
  }

  /** The tree has its record. */
  recorded(id: number): void {
    this.#unrecorded.delete(id);
  }

  /** Removes, later, the directory of a tree whose record is gone. */
  retire(id: number): void {
    this.#unrecorded.delete(id);
    this.#enqueue(`${id}`);
  }

  /** Removes what is not in use. What cannot be removed in a moment is left to the next start. */
  async close(): Promise<void> {
    this.#target = 0;
    await this.#making?.catch(() => undefined);
    for (const id of this.#spare.splice(0)) this.retire(id);
    await Promise.race([this.idle(), Bun.sleep(CLOSE_MS)]);
    this.#removals.length = 0;
  }

  /** Resolves when there is room for more removals. */
  async room(): Promise<void> {
    if (this.#removals.length > MAX_WAITING) await this.idle();
  }

  /** Resolves when everything that was retired is gone. */
  async idle(): Promise<void> {
    while (this.#remover !== undefined) await this.#remover;
  }

  /**
   * Retires directories without a record: those that a crash has left.
   * @param durable resolves when that they have none is on disk
   * @returns their names
   */
  async sweep(hasRecord: (id: number) => boolean, durable: () => Promise<void>): Promise<string[]> {
    const waste = (await readdir(this.#root)).filter((name) => {
      const id = idOf(name);
      return id === undefined || !(this.#unrecorded.has(id) || hasRecord(id));
    });
    await durable();
    for (const name of waste) this.#enqueue(name);
    return waste;
  }

  /** Makes spare directories, as many at once as are wanted: one batch at a time. */
  #make(): Promise<void> {
    this.#making ??= this.#makeBatch().finally(() => {
      this.#making = undefined;
    });
    return this.#making;
  }

  async #makeBatch(): Promise<void> {
    const count = Math.min(Math.max(1, this.#target - this.#spare.length, this.#waiting), MAX_SPARE);
    const ids = Array.from({ length: count }, () => this.#ids.next());
    for (const id of ids) this.#unrecorded.add(id);
    try {
      for (const id of ids) {
        await makeDirectory(this.path(id), this.#skeleton.mode);
        for (const [name, mode] of this.#skeleton.entries) await makeDirectory(`${this.path(id)}/${name}`, mode);
      }
      // Syncing the first brings all of them to disk on most file systems; the others then cost little.
      for (const id of ids) await syncDirectory(this.path(id));
      await syncDirectory(this.#root);
      this.#spare.push(...ids);
    } catch (error) {
      for (const id of ids) this.retire(id);
      throw error;
    }
  }

  #enqueue(name: string): void {
    if (this.#removals.includes(name)) return;
    this.#removals.push(name);
    this.#remover ??= this.#removeAll().finally(() => {
      this.#remover = undefined;
    });
  }

  async #removeAll(): Promise<void> {
    // One after another: the disk is busy with one already, and containers come first.
    for (let name = this.#removals[0]; name !== undefined; name = this.#removals[0]) {
      try {
        await this.#remove(name);
      } catch (error) {
        this.#log.warn("cannot remove the files of a snapshot, the next start tries again", {
          path: `${this.#root}/${name}`,
          error,
        });
      }
      this.#removals.shift();
    }
  }

  async #remove(name: string): Promise<void> {
    let path = `${this.#root}/${name}`;
    if (!name.startsWith(REMOVED)) {
      const away = `${this.#root}/${REMOVED}${name}`;
      try {
        await rename(path, away);
        path = away;
      } catch (error) {
        // A view of native has no directory.
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
      }
    }
    // What a client has mounted here is not ours to empty.
    for (const target of mountsBelow(path)) detach(target);
    await rm(path, { recursive: true, force: true });
  }
}

function idOf(name: string): number | undefined {
  return /^[1-9]\d{0,15}$/.test(name) ? Number(name) : undefined;
}

/** Brings a directory's entries to disk. @throws Error */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** {@link syncDirectory} for the start of a new root, when there is nobody to wait. */
function syncNow(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Makes a directory of exactly this mode, whatever the umask of the process. */
async function makeDirectory(path: string, mode: number): Promise<void> {
  await mkdir(path, { mode });
  if ((mode & process.umask()) !== 0) await chmod(path, mode);
}
