/** A database with random things in it, and somebody who changes them all the time. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { failedPrecondition, notFound } from "../../../../proto/errdefs.ts";
import { Collector } from "../../../../supervisor/gc/collector.ts";
import { Database } from "../../../../supervisor/store/database.ts";
import { migrations } from "../../../../supervisor/store/schema.ts";
import { everything, type Ids, needed } from "./model.ts";

/** Numbers that are the same for the same seed. */
export function random(seed: number): (limit: number) => number {
  let state = seed * 2654435761 + 1;
  return (limit) => {
    state = (state * 1664525 + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}

const namespaces = ["one", "two"];
const snapshotters = ["over", "nat"];
const past = "2020-01-01T00:00:00Z";
const future = "2090-01-01T00:00:00Z";

/** One world. */
export class World {
  readonly directory = mkdtempSync(join(tmpdir(), "berth-gc-"));
  readonly database = new Database(join(this.directory, "berth.db"), migrations);
  readonly writers = new Set<string>();
  readonly unneeded: string[] = [];
  readonly events: string[] = [];
  readonly wrong: string[] = [];
  readonly collector: Collector;
  readonly #pick: (limit: number) => number;
  readonly #size: number;

  constructor(seed: number, size: number) {
    this.#pick = random(seed);
    this.#size = size;
    this.collector = new Collector({
      database: this.database,
      publisher: { publish: (_namespace, topic) => this.events.push(topic) },
      content: { hasWriter: (namespace, ref) => this.writers.has(`${namespace} ${ref}`) },
      waste: {
        removeBlobs: async (digests) => void this.unneeded.push(...digests),
        removeIngests: async () => undefined,
        sweep: async () => undefined,
        sweepIngests: async () => undefined,
      },
      snapshots: { names: snapshotters, collect: this.#collectSnapshot },
      policy: { pauseThreshold: 0.5, deletionThreshold: 0, mutationThreshold: 0, scheduleDelay: 0, startupDelay: 1e9 },
      onError: (what, error) => this.wrong.push(`${what}: ${error}`),
      sliceMs: 0,
    });
    this.#watchRemovals();
  }

  async close(): Promise<void> {
    await this.collector.close();
    this.database.close();
    rmSync(this.directory, { recursive: true });
  }

  needed(): Ids {
    return needed(this.database, Date.now(), (namespace, ref) => this.writers.has(`${namespace} ${ref}`));
  }

  everything(): Ids {
    return everything(this.database);
  }

  /** Changes something at random. */
  change(): void {
    const { database } = this;
    const namespace = this.#one(namespaces);
    const key = this.#key();
    switch (this.#pick(16)) {
      case 0:
      case 1:
      case 2:
        database.run(
          `INSERT INTO blobs VALUES (?, ?, 1, 1, 1, ?) ON CONFLICT DO UPDATE SET labels = excluded.labels`,
          namespace,
          key,
          this.#labels(),
        );
        return;
      case 3:
      case 4:
      case 5:
        database.run(
          "INSERT OR IGNORE INTO snapshots VALUES (?, ?, ?, ?, 3, ?, 1, 1, ?)",
          this.#one(snapshotters),
          namespace,
          key,
          // A parent comes before its child: there are no circles.
          this.#parentOf(key),
          `${namespace}/${key}`,
          this.#labels(),
        );
        return;
      case 6:
        database.run("UPDATE snapshots SET labels = ? WHERE namespace = ? AND key = ?", this.#labels(), namespace, key);
        return;
      case 7:
        database.run(
          `INSERT INTO images VALUES (?, ?, ?, ?, x'') ON CONFLICT DO UPDATE SET digest = excluded.digest, labels = excluded.labels`,
          namespace,
          key,
          this.#key(),
          this.#labels(),
        );
        return;
      case 8:
        database.run("DELETE FROM images WHERE namespace = ? AND name = ?", namespace, key);
        return;
      case 9:
        database.run(
          "INSERT INTO leases VALUES (?, ?, 1, ?) ON CONFLICT DO UPDATE SET labels = excluded.labels",
          namespace,
          `l${this.#pick(4)}`,
          this.#labels(),
        );
        return;
      case 10:
        database.run("DELETE FROM leases WHERE namespace = ? AND id = ?", namespace, `l${this.#pick(4)}`);
        return;
      case 11:
      case 12: {
        const lease = `l${this.#pick(4)}`;
        if (database.get("SELECT 1 FROM leases WHERE namespace = ? AND id = ?", namespace, lease) === undefined) return;
        const type = this.#one(["content", "images", "ingests", "snapshots/over", "snapshots/nat"]);
        database.run("INSERT OR IGNORE INTO lease_resources VALUES (?, ?, ?, ?)", namespace, lease, type, key);
        return;
      }
      case 13:
        database.run("DELETE FROM lease_resources WHERE namespace = ? AND id = ?", namespace, key);
        return;
      case 14:
        database.run(
          `INSERT INTO ingests VALUES (?, ?, ?, ?, 1, ?, 0) ON CONFLICT (namespace, ref) DO UPDATE SET expires_at = excluded.expires_at`,
          namespace,
          key,
          `${namespace}${key}`,
          this.#pick(2) === 0 ? "" : this.#key(),
          this.#pick(2) === 0 ? 0 : (Date.now() + 1e6) * 1000,
        );
        if (this.#pick(3) === 0) this.writers.add(`${namespace} ${key}`);
        else this.writers.delete(`${namespace} ${key}`);
        return;
      default:
        if (this.#pick(2) === 0) database.run("DELETE FROM containers WHERE namespace = ? AND id = ?", namespace, key);
        else {
          const snapshotter = this.#one(snapshotters);
          database.run(
            `INSERT INTO containers (namespace, id, snapshotter, snapshot_key, image, runtime, sandbox, labels, record)
             VALUES (?, ?, ?, ?, '', '', '', ?, x'') ON CONFLICT DO UPDATE SET labels = excluded.labels`,
            namespace,
            key,
            snapshotter,
            this.#key(),
            this.#labels(),
          );
        }
    }
  }

  readonly #collectSnapshot = async (
    namespace: string,
    snapshotter: string,
    key: string,
    stillUnused: () => boolean,
  ): Promise<boolean> => {
    await new Promise((resolve) => setImmediate(resolve));
    const { database } = this;
    const used = new Error();
    try {
      database.transaction(() => {
        const sql = "SELECT 1 FROM snapshots WHERE snapshotter = ? AND namespace = ? AND parent = ?";
        if (database.get(sql, snapshotter, namespace, key) !== undefined) throw failedPrecondition("it has children");
        // While the record is there, as the snapshot service does: the collector may come to read what it refers to.
        if (!stillUnused()) throw used;
        const where = "snapshotter = ? AND namespace = ? AND key = ?";
        if (database.run(`DELETE FROM snapshots WHERE ${where}`, snapshotter, namespace, key) === 0)
          throw notFound("gone");
      });
    } catch (error) {
      if (error === used) return false;
      throw error;
    }
    return true;
  };

  /** Everything that disappears in a transaction of the collector's must not be needed right before it. */
  #watchRemovals(): void {
    const { database } = this;
    const transaction = database.transaction.bind(database);
    database.transaction = <T>(change: () => T): T => {
      const before = this.everything();
      const kept = this.needed();
      const result = transaction(change);
      const after = this.everything();
      for (const id of before) {
        if (!after.has(id) && kept.has(id)) this.wrong.push(`removed while needed: ${id}`);
      }
      return result;
    };
  }

  #labels(): string {
    const labels: Record<string, string> = {};
    for (let count = this.#pick(3); count > 0; count--) {
      const [key, value] = this.#label();
      labels[key] = value;
    }
    return JSON.stringify(labels);
  }

  #label(): [string, string] {
    switch (this.#pick(12)) {
      case 0:
        return ["containerd.io/gc.root", "x"];
      case 1:
      case 2:
        return [`containerd.io/gc.ref.content.${this.#pick(3)}`, this.#key()];
      case 3:
        return ["containerd.io/gc.ref.content", this.#key()];
      case 4:
        return [`containerd.io/gc.ref.snapshot.${this.#one(snapshotters)}`, this.#key()];
      case 5:
        return [`containerd.io/gc.ref.snapshot.over/${this.#pick(3)}`, this.#key()];
      case 6:
        return [`containerd.io/gc.bref.${this.#one(["container", "content", "image"])}.${this.#pick(3)}`, this.#key()];
      case 7:
        return ["containerd.io/gc.bref.snapshot.over", this.#key()];
      case 8:
        return ["containerd.io/gc.expire", this.#one([past, future, "tomorrow"])];
      case 9:
        return ["containerd.io/gc.flat", "x"];
      case 10:
        return ["io.cri-containerd.pinned", this.#one(["pinned", "no"])];
      default:
        return [this.#one(["a", "containerd.io/gc.ref.contents", "containerd.io/gc.ref.contentx"]), this.#key()];
    }
  }

  #key(): string {
    return `k${this.#pick(this.#size)}`;
  }

  #parentOf(key: string): string {
    const number = Number(key.slice(1));
    return number === 0 || this.#pick(3) === 0 ? "" : `k${this.#pick(number)}`;
  }

  #one<T>(values: readonly [T, ...T[]] | readonly T[]): T {
    return values[this.#pick(values.length)] as T;
  }
}
