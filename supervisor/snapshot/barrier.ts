/**
 * The barrier before everything that a person relies on: containers, tasks, snapshots of a client's own, transfers, checks.
 * None of them is acknowledged on layers that a power cut could still take back (settling.ts, boot.ts).
 */

import type { SnapshotRecords } from "./records.ts";
import type { Snapshotter } from "./snapshotter.ts";

/** Says when snapshots survive a power cut. */
export class Barrier {
  readonly #snapshotters: ReadonlyMap<string, Snapshotter>;
  readonly #records: Pick<SnapshotRecords, "find">;

  constructor(snapshotters: ReadonlyMap<string, Snapshotter>, records: Pick<SnapshotRecords, "find">) {
    this.#snapshotters = snapshotters;
    this.#records = records;
  }

  /**
   * Resolves when a snapshot and all that it is made of are on disk. At once for one that is not there, and for one of
   * another process, which has its own rules.
   * @throws ContainerdError why it is not, and what to do
   */
  async settled(namespace: string, snapshotter: string, key: string): Promise<void> {
    const backend = this.#snapshotters.get(snapshotter);
    if (backend?.settled === undefined || key === "") return;
    const record = this.#records.find(snapshotter, namespace, key);
    if (record !== undefined) await backend.settled(record.backend);
  }

  /** {@link settled} for all snapshots. @throws ContainerdError */
  async allSettled(): Promise<void> {
    await Promise.all([...this.#snapshotters.values()].map((snapshotter) => snapshotter.allSettled?.()));
  }
}
