/** Finding what a request names, or refusing it in containerd's words. */

import { invalidArgument, notFound } from "../../proto/errdefs.ts";
import { quote } from "../store/quote.ts";
import type { SnapshotRecord, SnapshotRecords } from "./records.ts";
import type { Snapshotter } from "./snapshotter.ts";

export class Lookup {
  readonly #snapshotters: ReadonlyMap<string, Snapshotter>;
  readonly #records: SnapshotRecords;

  constructor(snapshotters: ReadonlyMap<string, Snapshotter>, records: SnapshotRecords) {
    this.#snapshotters = snapshotters;
    this.#records = records;
  }

  /** @throws ContainerdError InvalidArgument */
  snapshotter(name: string): Snapshotter {
    if (name === "") throw invalidArgument("snapshotter argument missing: invalid argument");
    const snapshotter = this.#snapshotters.get(name);
    if (snapshotter === undefined) throw invalidArgument(`snapshotter not loaded: ${name}: invalid argument`);
    return snapshotter;
  }

  /** @throws ContainerdError NotFound */
  record(snapshotter: string, namespace: string, key: string): SnapshotRecord {
    const record = this.#records.find(snapshotter, namespace, key);
    if (record === undefined) throw notFound(`snapshot ${key} does not exist: not found`);
    return record;
  }

  /** What shall be committed. @throws ContainerdError NotFound */
  active(snapshotter: string, namespace: string, key: string): SnapshotRecord {
    if (!this.#records.wereMade(snapshotter, namespace)) {
      throw notFound(`can not find snapshotter ${quote(snapshotter)}: not found`);
    }
    return this.record(snapshotter, namespace, key);
  }

  /** @throws ContainerdError NotFound */
  parent(snapshotter: string, namespace: string, parent: string): SnapshotRecord {
    const record = this.#records.find(snapshotter, namespace, parent);
    if (record === undefined) throw notFound(`parent snapshot ${parent} does not exist: not found`);
    return record;
  }
}
