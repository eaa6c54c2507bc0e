/**
 * The barrier before everything that a person relies on: containers, tasks, snapshots of a client's own, transfers, images,
 * checks. None of them is acknowledged on layers that a power cut could still take back (settling.ts, boot.ts).
 *
 * Invariant: of every layer of an image that is acknowledged, its snapshot is on disk, or its blob is. A client that finds
 * a snapshot does not fetch its blob; a client that has unpacked one may let its blob go. So blobs go, and images
 * whose blobs are not all there are told to be made, when no layer is on its way ({@link Barrier.allDecided}).
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

  /**
   * Resolves when every snapshot is on disk, or is refused by it: what the disk refused is told to who uses it, and holds
   * up nobody else.
   * @throws ContainerdError when that could not be tried
   */
  async allDecided(): Promise<void> {
    await Promise.all([...this.#snapshotters.values()].map((snapshotter) => snapshotter.allDecided?.()));
  }
}
