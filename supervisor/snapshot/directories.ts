/**
 * The directories of a snapshotter's trees: `<root>/snapshots/<id>`, as containerd has them.
 *
 * Invariants: ids grow and are never used again. A directory is on disk before its record is; a record is gone before its
 * directory is. So a directory without a record is waste at any time but while it is being made, and a record without a
 * directory is damage.
 */

import { mkdirSync, readdirSync } from "node:fs";
import { mkdir, open, readdir, rename, rm } from "node:fs/promises";
import { detach, mountsBelow } from "../../shim/linux/index.ts";
import type { Log } from "../log/log.ts";

/** Begins the name of a directory whose removal has begun. */
const REMOVED = "removed-";
/** Directories that may wait for their removal before those who remove more have to wait. */
const MAX_WAITING = 1000;

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

/** The directories of one snapshotter. */
export class Directories {
  readonly #root: string;
  readonly #log: Pick<Log, "warn">;
  readonly #ids: TreeIds;
  readonly #making = new Set<number>();
  readonly #removals: string[] = [];
  #remover: Promise<void> | undefined;

  /**
   * Makes the root if it is not there.
   * @param root of the snapshotter
   */
  constructor(root: string, ids: TreeIds, log: Pick<Log, "warn">) {
    mkdirSync(root, { recursive: true, mode: 0o700 });
    this.#root = `${root}/snapshots`;
    mkdirSync(this.#root, { recursive: true, mode: 0o700 });
    this.#log = log;
    this.#ids = ids;
    for (const name of readdirSync(this.#root)) ids.use(idOf(name) ?? 0);
  }

  /** The directory of a tree. */
  path(id: number): string {
    return `${this.#root}/${id}`;
  }

  /** An id for a tree. Until {@link made} is called for it, its directory counts as being made. */
  reserve(): number {
    const id = this.#ids.next();
    this.#making.add(id);
    return id;
  }

  /**
   * Makes the directory of a reserved id.
   * @param fill puts things into it
   * @returns when it is on disk. What fill has put into it is only so if fill has synced it
   */
  async make(id: number, mode: number, fill: (path: string) => Promise<void>): Promise<void> {
    const path = this.path(id);
    await mkdir(path, { mode });
    await fill(path);
    await syncDirectory(path);
    await syncDirectory(this.#root);
  }

  /** The making is over: the tree has its record, or will have none and its directory must go. */
  made(id: number, hasRecord: boolean): void {
    this.#making.delete(id);
    if (!hasRecord) this.retire(id);
  }

  /** Removes, later, the directory of a tree whose record is gone. */
  retire(id: number): void {
    this.#enqueue(`${id}`);
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
   * @returns their names
   */
  async sweep(hasRecord: (id: number) => boolean): Promise<string[]> {
    const waste = (await readdir(this.#root)).filter((name) => {
      const id = idOf(name);
      return id === undefined || !(this.#making.has(id) || hasRecord(id));
    });
    for (const name of waste) this.#enqueue(name);
    return waste;
  }

  /** Ids that have a directory. */
  async ids(): Promise<Set<number>> {
    return new Set((await readdir(this.#root)).map(idOf).filter((id) => id !== undefined));
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
    // What a client has mounted inside is not ours to empty.
    for (const target of mountsBelow(path).filter((mounted) => mounted !== path)) detach(target);
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
