/** Making snapshots: Prepare and View. */

import { alreadyExists, ContainerdError, invalidArgument, messageOf, notFound, unknown } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import { checkLabels, type Labels } from "../store/labels.ts";
import { quote } from "../store/quote.ts";
import { nowMicros } from "../store/time.ts";
import type { Barrier } from "./barrier.ts";
import { backendKey, inherited, isUnpacking, REF } from "./info.ts";
import type { Intents } from "./intents.ts";
import type { Lookup } from "./lookup.ts";
import type { SnapshotServiceParts } from "./parts.ts";
import type { SnapshotRecord, SnapshotRecords } from "./records.ts";
import { Kind, type SnapshotInfo, type SnapshotMount, type Snapshotter } from "./snapshotter.ts";

export class Creation {
  readonly #parts: Pick<SnapshotServiceParts, "database" | "leases" | "namespaces">;
  readonly #records: SnapshotRecords;
  readonly #lookup: Lookup;
  readonly #intents: Intents;
  readonly #barrier: Barrier;

  constructor(
    parts: Pick<SnapshotServiceParts, "database" | "leases" | "namespaces">,
    records: SnapshotRecords,
    lookup: Lookup,
    intents: Intents,
    barrier: Barrier,
  ) {
    this.#parts = parts;
    this.#records = records;
    this.#lookup = lookup;
    this.#intents = intents;
    this.#barrier = barrier;
  }

  /**
   * Makes an active snapshot or a view; a lease holds it.
   * @throws ContainerdError AlreadyExists also when the snapshotter has the snapshot that labels refer to: then it is
   * recorded under that name
   */
  async create(
    verb: "prepare" | "view",
    namespace: string,
    lease: string | undefined,
    snapshotter: string,
    key: string,
    parent: string,
    labels: Labels,
  ): Promise<readonly SnapshotMount[]> {
    const { leases, database, namespaces } = this.#parts;
    const backend = this.#lookup.snapshotter(snapshotter);
    checkLabels(labels, "info.Labels: ");
    const type = `snapshots/${snapshotter}`;
    const target = labels[REF] ?? "";
    const found = [target, key].find((name) => name !== "" && this.#records.find(snapshotter, namespace, name));
    if (found !== undefined) {
      // Who finds the snapshot made goes on with it, and wants to keep it.
      await database.commit(() => leases.hold(namespace, lease, { type, id: found }));
      throw alreadyExists(
        found === target
          ? `target snapshot ${quote(target)}: already exists`
          : `snapshot ${quote(key)}: already exists`,
      );
    }
    if (key === "") throw unknown("bucket name required");
    const above = parent === "" ? undefined : this.#lookup.parent(snapshotter, namespace, parent);
    // Layers go on each other at once; a client's own snapshot stands on what stays.
    if (!isUnpacking(key)) await this.#barrier.settled(namespace, snapshotter, parent);
    const sequence = this.#records.nextSequence(snapshotter, namespace);
    const made = backendKey(namespace, sequence, key);
    const kind = verb === "view" ? Kind.View : Kind.Active;
    const write = (record: SnapshotRecord): void => {
      namespaces.require(namespace);
      leases.hold(namespace, lease, { type, id: record.key });
      if (this.#records.find(snapshotter, namespace, record.key) !== undefined) {
        throw alreadyExists(`snapshot ${quote(record.key)}: already exists`);
      }
      if (above !== undefined && this.#lookup.parent(snapshotter, namespace, parent).backend !== above.backend) {
        throw invalidArgument(`mismatched parent ${parent} from target ${target}: invalid argument`);
      }
      this.#records.insert(snapshotter, namespace, sequence, record);
    };
    const use = (): void => this.#records.useSequence(snapshotter, namespace, sequence);
    try {
      const make = (): Promise<readonly SnapshotMount[]> =>
        backend[verb](made, above?.backend ?? "", inherited(labels), () => {
          const now = nowMicros();
          write({ key, parent, kind, backend: made, createdAt: now, updatedAt: now, labels });
          this.#intents.drop(snapshotter, made);
        });
      return await this.#intents.during(snapshotter, made, { verb: "make" }, backend, make, use);
    } catch (error) {
      if (!(error instanceof ContainerdError && error.code === Code.AlreadyExists)) throw error;
      // The record's own refusal comes through as it is.
      if (this.#records.find(snapshotter, namespace, key) !== undefined) throw error;
      if (target === "") throw unknown(`unexpected error from snapshotter: ${messageOf(error)}: unknown`);
      const remote = await this.#remote(backend, namespace, target, above?.backend ?? "");
      await database.commit(() =>
        write({
          key: target,
          parent,
          kind: Kind.Committed,
          backend: remote.name,
          createdAt: remote.createdAt,
          updatedAt: remote.updatedAt,
          labels: { ...remote.labels, ...labels },
        }),
      );
      throw alreadyExists(`target snapshot ${quote(target)} from snapshotter: already exists`);
    }
  }

  /** The committed snapshot that a snapshotter has under a reference already. */
  async #remote(backend: Snapshotter, namespace: string, target: string, parent: string): Promise<SnapshotInfo> {
    for await (const info of backend.list(namespace)) {
      if (info.kind === Kind.Committed && info.labels[REF] === target && info.parent === parent) return info;
    }
    throw notFound(`target snapshot ${quote(target)} in backend: not found`);
  }
}
