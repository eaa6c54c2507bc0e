/** A snapshotter that keeps trees in directories of its own: overlayfs and native differ in the layout alone. */

import type { Log } from "../log/log.ts";
import type { Database } from "../store/database.ts";
import type { Labels } from "../store/labels.ts";
import { Synced } from "./boot.ts";
import { Directories, type Skeleton, type TreeIds } from "./directories.ts";
import { onDisk } from "./disk-error.ts";
import { Settling, type Syncs } from "./settling.ts";
import {
  type Alongside,
  type CommitOptions,
  Kind,
  type SnapshotInfo,
  type SnapshotMount,
  type Snapshotter,
  type Usage,
} from "./snapshotter.ts";
import { syncFiles } from "./sync.ts";
import { type Chain, Trees } from "./trees.ts";
import { diskUsage } from "./usage.ts";

/** How a tree is laid out in its directory, and mounted. */
export interface Layout {
  /** How a new directory looks. */
  readonly skeleton: Skeleton;
  /** True when a tree of this kind has a directory of its own. */
  hasDirectory(kind: Kind, hasParent: boolean): boolean;
  /**
   * Puts into a new directory what a tree begins with, and brings it to disk.
   * @param parent the directory of the parent tree, if there is one
   */
  fill(directory: string, parent: string | undefined, labels: Labels): Promise<void>;
  /** The mounts of a tree. @param path gives the directory of a tree */
  mounts(chain: Chain, path: (id: number) => string): SnapshotMount[];
  /** Where the files of a tree are, in its directory. */
  files(directory: string): string;
  /** What the message says when there are no mounts for a key. */
  readonly mountsCall: string;
}

/** What a local snapshotter is made of. */
export interface LocalOptions {
  readonly database: Database;
  /** Shared by all snapshotters of the database. */
  readonly ids: TreeIds;
  readonly name: string;
  readonly root: string;
  readonly layout: Layout;
  readonly log: Pick<Log, "warn">;
  /** Other ways to the disk, for tests. */
  readonly syncs?: Syncs | undefined;
}

/** A snapshotter over directories. */
export class LocalSnapshotter implements Snapshotter {
  readonly #database: Database;
  readonly #layout: Layout;
  readonly #trees: Trees;
  readonly #directories: Directories;
  readonly #settling: Settling;

  /**
   * @param name of the snapshotter, under which its trees are recorded
   * @param root its directory, made if it is not there
   */
  constructor({ database, ids, name, root, layout, log, syncs }: LocalOptions) {
    this.#database = database;
    this.#layout = layout;
    this.#trees = new Trees(database, name);
    this.#directories = new Directories({ root, ids, skeleton: layout.skeleton, log });
    const files = (id: number): string => layout.files(this.#directories.path(id));
    this.#settling = new Settling({ database, snapshotter: name, root, files, log, syncs });
  }

  /** Begins to remove what a crash has left. @returns names of directories that had no record */
  async recover(): Promise<string[]> {
    const known = new Set(this.#trees.ids());
    // A tree made since has a record that is not in the set.
    const hasRecord = (id: number): boolean => known.has(id) || this.#trees.has(id);
    return this.#directories.sweep(hasRecord, () => this.#database.durable());
  }

  async stat(key: string): Promise<SnapshotInfo> {
    return this.#trees.infoOf(this.#trees.get(key));
  }

  update(name: string, labels: Labels, paths: readonly string[], alongside: Alongside): Promise<SnapshotInfo> {
    return this.#database.commit(() => {
      const tree = this.#trees.update(name, labels, paths);
      alongside();
      return this.#trees.infoOf(tree);
    });
  }

  async usage(key: string, signal?: AbortSignal): Promise<Usage> {
    const { id, kind, size, inodes } = this.#trees.get(key);
    return kind === Kind.Active ? this.#count(id, signal) : { size, inodes };
  }

  async mounts(key: string): Promise<SnapshotMount[]> {
    return this.#mounts(this.#trees.chain(key, this.#layout.mountsCall));
  }

  prepare(key: string, parent: string, labels: Labels, alongside: Alongside): Promise<SnapshotMount[]> {
    return this.#create(Kind.Active, key, parent, labels, alongside);
  }

  view(key: string, parent: string, labels: Labels, alongside: Alongside): Promise<SnapshotMount[]> {
    return this.#create(Kind.View, key, parent, labels, alongside);
  }

  async commit(name: string, key: string, labels: Labels, options: CommitOptions, alongside: Alongside): Promise<void> {
    const { parent = "", isRepeatable = false } = options;
    const checked = this.#trees.checkCommit(name, key, parent);
    const { tree } = checked;
    const call = `failed to commit snapshot ${key}`;
    const files = this.#layout.files(this.#directories.path(tree.id));
    // Both read the same files; what counting finds in the cache costs syncing nothing.
    const [usage] = await onDisk(call, () =>
      Promise.all([this.#count(tree.id), isRepeatable ? undefined : syncFiles(files)]),
    );
    // Nothing that cannot be made again stands on what may yet be taken back.
    if (!isRepeatable) await this.#settling.settled(this.#trees.parentsOf(checked.parent));
    this.#database.transaction(() => {
      this.#trees.commit(name, key, parent, labels, usage, isRepeatable ? Synced.no : Synced.yes);
      alongside();
    });
    if (isRepeatable) this.#settling.begin(tree.id);
    await this.#database.durable();
  }

  async settled(key: string): Promise<void> {
    const tree = this.#trees.find(key);
    if (tree !== undefined) await this.#settling.settled([tree.id, ...this.#trees.parentsOf(tree.parent)]);
  }

  allSettled(): Promise<void> {
    return this.#settling.allSettled();
  }

  allDecided(): Promise<void> {
    return this.#settling.allDecided();
  }

  async remove(key: string, alongside: Alongside): Promise<void> {
    await this.#directories.room();
    const { id } = this.#database.transaction(() => {
      const tree = this.#trees.remove(key);
      alongside();
      return tree;
    });
    this.#settling.forget(id);
    await this.#database.durable();
    this.#directories.retire(id);
  }

  async *list(): AsyncIterable<SnapshotInfo> {
    const count = 100;
    for (let page = this.#trees.page(0, count); page.length > 0; page = this.#trees.page(page.at(-1)?.id ?? 0, count)) {
      for (const tree of page) yield this.#trees.infoOf(tree);
    }
  }

  async cleanup(): Promise<void> {
    await this.recover();
    await this.#directories.idle();
  }

  async close(): Promise<void> {
    await this.#settling.close();
    await this.#directories.close();
  }

  async #create(
    kind: Kind,
    key: string,
    parent: string,
    labels: Labels,
    alongside: Alongside,
  ): Promise<SnapshotMount[]> {
    const parentId = this.#trees.checkNew(key, parent)?.id;
    const id = this.#layout.hasDirectory(kind, parentId !== undefined)
      ? await this.#makeDirectory(parentId, labels)
      : this.#directories.bareId();
    let mounts: SnapshotMount[];
    try {
      mounts = this.#database.transaction(() => {
        const tree = this.#trees.insert(id, key, parent, kind, labels);
        alongside();
        return this.#mounts(this.#trees.chainOf(tree));
      });
    } catch (error) {
      this.#directories.retire(id);
      throw error;
    }
    this.#directories.recorded(id);
    await this.#database.durable();
    return mounts;
  }

  #makeDirectory(parent: number | undefined, labels: Labels): Promise<number> {
    return onDisk("failed to create prepare snapshot dir", async () => {
      const id = await this.#directories.take();
      try {
        const from = parent === undefined ? undefined : this.#directories.path(parent);
        await this.#layout.fill(this.#directories.path(id), from, labels);
        return id;
      } catch (error) {
        this.#directories.retire(id);
        throw error;
      }
    });
  }

  #mounts(chain: Chain): SnapshotMount[] {
    return this.#layout.mounts(chain, (id) => this.#directories.path(id));
  }

  #count(id: number, signal?: AbortSignal): Promise<Usage> {
    return diskUsage(this.#layout.files(this.#directories.path(id)), signal);
  }
}
