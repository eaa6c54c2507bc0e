/** Removing what was not marked. */

import { ContainerdError } from "../../proto/errdefs.ts";
import { containerd } from "../../proto/gen/supervisor.js";
import { Code } from "../../proto/ttrpc/status.ts";
import type { Publisher } from "../event/publisher.ts";
import type { Database } from "../store/database.ts";
import { collectible, type Graph } from "./graph.ts";
import type { Marks } from "./mark.ts";
import { type Node, splitSnapshotKey } from "./node.ts";

/** Rows that are read at a time, and removed in one transaction. */
const PAGE = 200;
/** Snapshots that are removed at the same time. */
const PARALLEL = 16;

/** What can remove the things that are more than rows. */
export interface SweepParts {
  readonly database: Database;
  readonly publisher: Publisher;
  readonly waste: {
    /** Resolves when the files of those that nobody has are gone. */
    removeBlobs(digests: Iterable<string>): Promise<void>;
    removeIngests(names: Iterable<string>): Promise<void>;
  };
  readonly snapshots: {
    readonly names: readonly string[];
    /**
     * @param stillUnused to be asked in the transaction that removes the record, before it is removed: it may find that
     * the snapshot is needed again, and reads then what it refers to
     */
    collect(namespace: string, snapshotter: string, key: string, stillUnused: () => boolean): Promise<boolean>;
  };
  /** Resolves when no snapshot needs the blob any more that it was unpacked from: no record of a blob goes before. */
  readonly allDecided?: () => Promise<void>;
  /** Told of a thing that could not be removed: it is tried again the next time. */
  readonly onError?: ((what: string, error: unknown) => void) | undefined;
}

/** How many of each were removed. */
export type Removed = Record<"content" | "image" | "ingest" | "lease" | "snapshot", number>;

/** Things that may be removed, as they are found. Hands over to others at every yield. */
export function* candidates(graph: Graph, marks: Marks, now: number): Generator<Node | undefined> {
  for (const table of collectible) {
    let after: readonly string[] | undefined;
    do {
      const { entries, last } = graph.page(table, after, PAGE, now);
      for (const { node } of entries) {
        if (node && !marks.has(node)) yield node;
      }
      after = last;
      yield undefined;
    } while (after !== undefined);
  }
}

/** One sweep. */
export class Sweep {
  readonly #parts: SweepParts;
  readonly #marks: Marks;
  /** Called at the beginning of each transaction that removes. */
  readonly #onRemoval: () => void;
  readonly removed: Removed = { content: 0, image: 0, ingest: 0, lease: 0, snapshot: 0 };

  constructor(parts: SweepParts, marks: Marks, onRemoval: () => void) {
    this.#parts = parts;
    this.#marks = marks;
    this.#onRemoval = onRemoval;
  }

  /** Removes what is still not needed; resolves when its files are gone, or will be as the snapshotter says. */
  async run(nodes: readonly Node[], pause: () => Promise<void>): Promise<void> {
    const rows = nodes.filter(({ kind }) => kind !== "snapshot");
    const digests: string[] = [];
    const ingests: string[] = [];
    if (rows.some(({ kind }) => kind === "content")) await this.#parts.allDecided?.();
    for (let at = 0; at < rows.length; at += PAGE) {
      const gone = this.#parts.database.transaction(() => {
        this.#onRemoval();
        this.#marks.catchUp();
        return rows
          .slice(at, at + PAGE)
          .filter((node) => !this.#marks.has(node) && this.#remove(node, digests, ingests));
      });
      for (const node of gone) this.#count(node);
      await pause();
    }
    await this.#removeSnapshots(nodes.filter(({ kind }) => kind === "snapshot"));
    if (digests.length === 0 && ingests.length === 0) return;
    // A file may go only when its record is gone for good.
    await this.#parts.database.durable();
    await this.#parts.waste.removeBlobs(digests);
    await this.#parts.waste.removeIngests(ingests);
  }

  #count({ kind, namespace, key }: Node): void {
    if (kind === "container") return;
    this.removed[kind]++;
    if (kind !== "image") return;
    const value = containerd.services.images.v1.ImageDelete.encode({ name: key }).finish();
    const name = "containerd.services.images.v1.ImageDelete";
    this.#parts.publisher.publish(namespace, "/images/delete", { name, value });
  }

  /** Removes the row of a node. @returns whether there was one */
  #remove({ kind, namespace, key }: Node, digests: string[], ingests: string[]): boolean {
    const { database } = this.#parts;
    switch (kind) {
      case "content":
        digests.push(key);
        return database.run("DELETE FROM blobs WHERE namespace = ? AND digest = ?", namespace, key) > 0;
      case "ingest": {
        const row = database.get<{ name: string; expected: string }>(
          "SELECT name, expected FROM ingests WHERE namespace = ? AND ref = ?",
          namespace,
          key,
        );
        if (row === undefined) return false;
        ingests.push(row.name);
        if (row.expected !== "") digests.push(row.expected);
        return database.run("DELETE FROM ingests WHERE namespace = ? AND ref = ?", namespace, key) > 0;
      }
      case "image":
        return database.run("DELETE FROM images WHERE namespace = ? AND name = ?", namespace, key) > 0;
      case "lease":
        return database.run("DELETE FROM leases WHERE namespace = ? AND id = ?", namespace, key) > 0;
      default:
        return false;
    }
  }

  /** Removes snapshots, children before their parents. */
  async #removeSnapshots(nodes: readonly Node[]): Promise<void> {
    const loaded = new Set(this.#parts.snapshots.names);
    let waiting = nodes.filter(({ key }) => loaded.has(splitSnapshotKey(key).snapshotter));
    while (waiting.length > 0) {
      // Whoever has a child that is to go as well comes after it.
      const outcomes = await inParallel(waiting, (node) => this.#removeSnapshot(node));
      const left = waiting.filter((_, index) => outcomes[index] === "has children");
      if (left.length === waiting.length) return;
      waiting = left;
    }
  }

  async #removeSnapshot(node: Node): Promise<"has children" | "done"> {
    const { snapshotter, name } = splitSnapshotKey(node.key);
    try {
      const isGone = await this.#parts.snapshots.collect(node.namespace, snapshotter, name, () => {
        this.#marks.catchUp();
        if (this.#marks.has(node)) return false;
        this.#onRemoval();
        return true;
      });
      if (isGone) this.removed.snapshot++;
    } catch (error) {
      const code = error instanceof ContainerdError ? error.code : undefined;
      if (code === Code.FailedPrecondition) return "has children";
      if (code !== Code.NotFound) this.#parts.onError?.(`collect snapshot ${node.key} of ${node.namespace}`, error);
    }
    return "done";
  }
}

async function inParallel<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < items.length) {
      const index = next++;
      results[index] = await work(items[index] as T);
    }
  };
  await Promise.all(Array.from({ length: Math.min(PARALLEL, items.length) }, worker));
  return results;
}
