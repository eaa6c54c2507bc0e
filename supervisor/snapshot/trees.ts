/** The records of trees: snapshots as overlayfs and native keep them, each a directory that has the record's id for a name. */

import { alreadyExists, failedPrecondition, invalidArgument, notFound } from "../../proto/errdefs.ts";
import type { Database } from "../store/database.ts";
import { entryOf } from "../store/fieldpath.ts";
import { decodeLabels, encodeLabels, type Labels } from "../store/labels.ts";
import { quote } from "../store/quote.ts";
import { nowMicros } from "../store/time.ts";
import { Kind, type SnapshotInfo, type Usage } from "./snapshotter.ts";

/** A tree's record. */
export interface Tree {
  readonly id: number;
  readonly key: string;
  readonly parent: number | null;
  readonly kind: Kind;
  /** Bytes, known of committed trees. */
  readonly size: number;
  readonly inodes: number;
  readonly created_at: number;
  readonly updated_at: number;
  readonly labels: string;
  /** One of Synced (boot.ts). */
  readonly synced: number;
}

/** A tree to be mounted: its id, and those of its parents from the nearest one on. */
export interface Chain {
  readonly id: number;
  readonly kind: Kind;
  readonly parents: readonly number[];
  readonly labels: Labels;
}

/** The highest id that a tree of any snapshotter has, or ever had. */
export function lastTreeId(database: Database): number {
  return database.get<{ seq: number }>("SELECT seq FROM sqlite_sequence WHERE name = 'trees'")?.seq ?? 0;
}

/**
 * The trees of one snapshotter. Methods that write do it inside the caller's transaction; errors have containerd's words
 * (core/snapshots/storage/bolt.go).
 */
export class Trees {
  readonly #database: Database;
  readonly #snapshotter: string;

  constructor(database: Database, snapshotter: string) {
    this.#database = database;
    this.#snapshotter = snapshotter;
  }

  find(key: string): Tree | undefined {
    return this.#database.get<Tree>("SELECT * FROM trees WHERE snapshotter = ? AND key = ?", this.#snapshotter, key);
  }

  /** @throws ContainerdError NotFound */
  get(key: string): Tree {
    const tree = this.find(key);
    if (tree === undefined) throw notFound("snapshot does not exist: not found");
    return tree;
  }

  /** True when there is a tree of that id. */
  has(id: number): boolean {
    return this.#database.get("SELECT 1 FROM trees WHERE id = ?", id) !== undefined;
  }

  /** Ids of all trees of the snapshotter. */
  ids(): number[] {
    return this.#database
      .all<{ id: number }>("SELECT id FROM trees WHERE snapshotter = ?", this.#snapshotter)
      .map(({ id }) => id);
  }

  /** All trees after the id `after`, `count` at most, by id. */
  page(after: number, count: number): Tree[] {
    return this.#database.all<Tree>(
      "SELECT * FROM trees WHERE snapshotter = ? AND id > ? ORDER BY id LIMIT ?",
      this.#snapshotter,
      after,
      count,
    );
  }

  infoOf(tree: Tree): SnapshotInfo {
    const parent =
      tree.parent === null
        ? undefined
        : this.#database.get<{ key: string }>("SELECT key FROM trees WHERE id = ?", tree.parent);
    return {
      kind: tree.kind,
      name: tree.key,
      parent: parent?.key ?? "",
      labels: decodeLabels(tree.labels),
      createdAt: tree.created_at,
      updatedAt: tree.updated_at,
    };
  }

  /** The parents of a tree, from the nearest one on. */
  parentsOf(parent: number | null): number[] {
    if (parent === null) return [];
    return this.#database
      .all<{ id: number }>(
        `WITH RECURSIVE chain (id, parent, depth) AS (
           SELECT id, parent, 0 FROM trees WHERE id = ?
           UNION ALL SELECT t.id, t.parent, depth + 1 FROM trees t JOIN chain c ON t.id = c.parent)
         SELECT id FROM chain ORDER BY depth`,
        parent,
      )
      .map(({ id }) => id);
  }

  /**
   * The chain of an active tree or a view.
   * @param call what the message says could not be done
   * @throws ContainerdError NotFound, FailedPrecondition for a committed one
   */
  chain(key: string, call: string): Chain {
    const tree = this.find(key);
    if (tree === undefined) throw notFound(`${call}: snapshot does not exist: not found`);
    if (tree.kind === Kind.Committed) {
      throw failedPrecondition(`${call}: requested snapshot ${key} not active or view: failed precondition`);
    }
    return this.chainOf(tree);
  }

  chainOf(tree: Tree): Chain {
    const { id, kind, parent, labels } = tree;
    return { id, kind, parents: this.parentsOf(parent), labels: decodeLabels(labels) };
  }

  /**
   * The parent that a new tree asks for; undefined for none.
   * @throws ContainerdError AlreadyExists for a key that is taken, NotFound and InvalidArgument for a wrong parent
   */
  checkNew(key: string, parent: string): Tree | undefined {
    const call = "failed to create snapshot";
    let found: Tree | undefined;
    if (parent !== "") {
      found = this.find(parent);
      if (found === undefined) throw notFound(`${call}: missing parent ${quote(parent)} bucket: not found`);
      if (found.kind !== Kind.Committed) {
        throw invalidArgument(`${call}: parent ${quote(parent)} is not committed snapshot: invalid argument`);
      }
    }
    if (this.find(key) !== undefined) throw alreadyExists(`${call}: snapshot ${key}: already exists`);
    return found;
  }

  /** Records a new tree whose directory is there. @throws ContainerdError as {@link checkNew} */
  insert(id: number, key: string, parent: string, kind: Kind, labels: Labels): Tree {
    const found = this.checkNew(key, parent);
    const now = nowMicros();
    this.#database.run(
      "INSERT INTO trees (id, snapshotter, key, parent, kind, size, inodes, created_at, updated_at, labels) VALUES (?, ?, ?, ?, ?, 0, 0, ?, ?, ?)",
      id,
      this.#snapshotter,
      key,
      found?.id ?? null,
      kind,
      now,
      now,
      encodeLabels(labels),
    );
    return this.get(key);
  }

  /**
   * The active tree that shall be committed under a name.
   * @throws ContainerdError NotFound, AlreadyExists, FailedPrecondition, InvalidArgument
   */
  checkCommit(name: string, key: string, parent: string): { tree: Tree; parent: number | null } {
    const call = `failed to commit snapshot ${key}`;
    const tree = this.get(key);
    if (this.find(name) !== undefined) throw alreadyExists(`${call}: committed snapshot ${name}: already exists`);
    if (tree.kind !== Kind.Active) {
      throw failedPrecondition(`${call}: snapshot ${quote(key)} is not active: failed precondition`);
    }
    if (parent === "") return { tree, parent: tree.parent };
    const found = this.find(parent);
    if (tree.parent !== null) {
      if (found?.id === tree.parent) return { tree, parent: tree.parent };
      throw invalidArgument(
        `${call}: cannot change parent of active snapshot ${quote(key)} on commit: invalid argument`,
      );
    }
    if (found === undefined) {
      throw notFound(`${call}: missing parent ${quote(parent)} of snapshot ${quote(key)}: not found`);
    }
    if (found.kind !== Kind.Committed) {
      throw failedPrecondition(`${call}: parent ${quote(parent)} is not committed: failed precondition`);
    }
    return { tree, parent: found.id };
  }

  /**
   * Makes an active tree a committed one, with a new name and new labels.
   * @param synced one of Synced
   * @throws as {@link checkCommit}
   */
  commit(name: string, key: string, parent: string, labels: Labels, usage: Usage, synced: number): void {
    const checked = this.checkCommit(name, key, parent);
    const now = nowMicros();
    this.#database.run(
      "UPDATE trees SET key = ?, parent = ?, kind = ?, size = ?, inodes = ?, created_at = ?, updated_at = ?, labels = ?, synced = ? WHERE id = ?",
      name,
      checked.parent,
      Kind.Committed,
      usage.size,
      usage.inodes,
      now,
      now,
      encodeLabels(labels),
      synced,
      checked.tree.id,
    );
  }

  /** Replaces labels. @throws ContainerdError NotFound, InvalidArgument for a path of something else */
  update(name: string, labels: Labels, paths: readonly string[]): Tree {
    const tree = this.get(name);
    const updated = updatedLabels(decodeLabels(tree.labels), labels, paths, name);
    this.#database.run(
      "UPDATE trees SET labels = ?, updated_at = ? WHERE id = ?",
      encodeLabels(updated),
      nowMicros(),
      tree.id,
    );
    return this.get(name);
  }

  /**
   * Removes a record.
   * @returns what it was
   * @throws ContainerdError NotFound, FailedPrecondition for a tree that has children
   */
  remove(key: string): Tree {
    const call = `failed to remove snapshot ${key}`;
    const tree = this.find(key);
    if (tree === undefined) throw notFound(`${call}: snapshot ${key}: not found`);
    if (this.#database.get("SELECT 1 FROM trees WHERE parent = ? LIMIT 1", tree.id) !== undefined) {
      throw failedPrecondition(`${call}: cannot remove snapshot with child: failed precondition`);
    }
    this.#database.run("DELETE FROM trees WHERE id = ?", tree.id);
    return tree;
  }
}

/**
 * Labels after an update by field paths.
 * @param name of the snapshot, for the message
 * @throws ContainerdError InvalidArgument for a path that names something else
 */
export function updatedLabels(
  before: Labels,
  given: Labels,
  paths: readonly string[],
  name: string,
): Record<string, string> {
  if (paths.length === 0) return { ...given };
  let updated: Record<string, string> = { ...before };
  for (const path of paths) {
    const key = entryOf(path, "labels.");
    if (key !== undefined) updated[key] = Object.hasOwn(given, key) ? (given[key] ?? "") : "";
    else if (path === "labels") updated = { ...given };
    else {
      throw invalidArgument(`cannot update ${quote(path)} field on snapshot ${quote(name)}: invalid argument`);
    }
  }
  return updated;
}
