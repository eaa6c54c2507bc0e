/**
 * Snapshots as clients see them: each namespace has keys of its own, snapshots are held by leases, and what happens to
 * them is published (core/metadata/snapshot.go). Under it each snapshotter has one key space, in which a snapshot's key is
 * `<namespace>/<number>/<key>`; these keys go into error messages and to proxy snapshotters, never into paths.
 */

import {
  alreadyExists,
  ContainerdError,
  failedPrecondition,
  invalidArgument,
  messageOf,
  unknown,
} from "../../proto/errdefs.ts";
import { containerd } from "../../proto/gen/supervisor.js";
import { Code } from "../../proto/ttrpc/status.ts";
import { type Filter, parseFilters } from "../store/filter.ts";
import { checkLabels, type Labels } from "../store/labels.ts";
import { quote } from "../store/quote.ts";
import { nowMicros } from "../store/time.ts";
import { Barrier } from "./barrier.ts";
import { Creation } from "./creation.ts";
import { backendKey, inherited, isLayer, overlaid, passes } from "./info.ts";
import { type Intent, Intents } from "./intents.ts";
import { Lookup } from "./lookup.ts";
import type { SnapshotServiceParts } from "./parts.ts";
import { type SnapshotRecord, SnapshotRecords } from "./records.ts";
import { type CommitOptions, Kind, type SnapshotInfo, type SnapshotMount, type Usage } from "./snapshotter.ts";
import { updatedLabels } from "./trees.ts";

export type { Holds, SnapshotServiceParts } from "./parts.ts";

const { SnapshotCommit, SnapshotPrepare, SnapshotRemove } = containerd.events;

/** A list lets everybody else work after so many snapshots. */
const PAUSE_EVERY = 100;

/** The snapshots of all namespaces. */
export class SnapshotService {
  readonly #parts: SnapshotServiceParts;
  readonly #records: SnapshotRecords;
  readonly #lookup: Lookup;
  readonly #intents: Intents;
  readonly #creation: Creation;
  readonly barrier: Barrier;

  constructor(parts: SnapshotServiceParts) {
    this.#parts = parts;
    this.#records = new SnapshotRecords(parts.database);
    this.barrier = new Barrier(parts.snapshotters, this.#records);
    this.#lookup = new Lookup(parts.snapshotters, this.#records);
    this.#intents = new Intents(parts.database, (...commit) => this.#finishCommit(...commit), parts.log);
    this.#creation = new Creation(parts, this.#records, this.#lookup, this.#intents, this.barrier);
  }

  /** Begins to finish or undo what a crash has left half done in other processes. */
  recover(): void {
    for (const [name, snapshotter] of this.#parts.snapshotters) {
      if (!snapshotter.isRemote) continue;
      this.#intents.settleAll(name, snapshotter).catch((error) =>
        this.#parts.log.warn("a proxy snapshotter does not answer; what a crash left in it waits", {
          snapshotter: name,
          error,
        }),
      );
    }
  }

  /** Names of the snapshotters. */
  get names(): string[] {
    return [...this.#parts.snapshotters.keys()];
  }

  /** @throws ContainerdError NotFound, InvalidArgument for a snapshotter that is not there (as all verbs do) */
  async stat(namespace: string, snapshotter: string, key: string): Promise<SnapshotInfo> {
    const backend = this.#lookup.snapshotter(snapshotter);
    const record = this.#lookup.record(snapshotter, namespace, key);
    return overlaid(await backend.stat(record.backend), record);
  }

  /** Replaces the labels that `paths` name (`labels`, `labels.KEY`), or all without paths. */
  async update(
    namespace: string,
    snapshotter: string,
    name: string,
    labels: Labels,
    paths: readonly string[],
  ): Promise<SnapshotInfo> {
    const backend = this.#lookup.snapshotter(snapshotter);
    if (name === "") throw invalidArgument("invalid argument");
    const before = this.#lookup.record(snapshotter, namespace, name);
    // Labels may be all that keeps it: they are a client's own.
    await this.barrier.settled(namespace, snapshotter, name);
    const change = (record: SnapshotRecord): Record<string, string> => {
      const updated = updatedLabels(record.labels, labels, paths, name);
      checkLabels(updated, "info.Labels: ");
      return updated;
    };
    const info = await backend.update(before.backend, inherited(change(before)), paths, () => {
      const record = this.#lookup.record(snapshotter, namespace, name);
      this.#records.relabel(snapshotter, namespace, name, change(record));
    });
    return overlaid(info, this.#lookup.record(snapshotter, namespace, name));
  }

  async usage(namespace: string, snapshotter: string, key: string, signal?: AbortSignal): Promise<Usage> {
    const backend = this.#lookup.snapshotter(snapshotter);
    return backend.usage(this.#lookup.record(snapshotter, namespace, key).backend, signal);
  }

  async mounts(namespace: string, snapshotter: string, key: string): Promise<readonly SnapshotMount[]> {
    const backend = this.#lookup.snapshotter(snapshotter);
    return backend.mounts(this.#lookup.record(snapshotter, namespace, key).backend);
  }

  /** Makes an active snapshot; a lease holds it. @param parent empty for none */
  async prepare(
    namespace: string,
    lease: string | undefined,
    snapshotter: string,
    key: string,
    parent: string,
    labels: Labels,
  ): Promise<readonly SnapshotMount[]> {
    const mounts = await this.#creation.create("prepare", namespace, lease, snapshotter, key, parent, labels);
    this.#publish(namespace, "prepare", SnapshotPrepare.encode({ key, parent, snapshotter }).finish());
    return mounts;
  }

  /** Makes a view; a lease holds it. @param parent empty for none */
  view(
    namespace: string,
    lease: string | undefined,
    snapshotter: string,
    key: string,
    parent: string,
    labels: Labels,
  ): Promise<readonly SnapshotMount[]> {
    return this.#creation.create("view", namespace, lease, snapshotter, key, parent, labels);
  }

  /** Makes the active snapshot `key` the committed snapshot `name`, which the lease then holds in its place. */
  async commit(
    namespace: string,
    lease: string | undefined,
    snapshotter: string,
    name: string,
    key: string,
    labels: Labels,
    options: CommitOptions = {},
  ): Promise<void> {
    const { leases, database } = this.#parts;
    const backend = this.#lookup.snapshotter(snapshotter);
    checkLabels(labels, "info.Labels: ");
    if (name === "") throw unknown("bucket name required");
    const taken = () => alreadyExists(`snapshot ${quote(name)}: already exists`);
    const type = `snapshots/${snapshotter}`;
    if (this.#records.find(snapshotter, namespace, name) !== undefined) {
      // As containerd does: who finds the snapshot made wants to keep it.
      await database.commit(() => leases.hold(namespace, lease, { type, id: name }));
      throw taken();
    }
    const active = this.#lookup.active(snapshotter, namespace, key);
    const parent = active.parent === "" ? (options.parent ?? "") : active.parent;
    const rebasedOn =
      active.parent === "" && parent !== "" ? this.#lookup.parent(snapshotter, namespace, parent).backend : undefined;
    const sequence = this.#records.nextSequence(snapshotter, namespace);
    const backendName = backendKey(namespace, sequence, name);
    const inner = { ...options, parent: rebasedOn, isRepeatable: isLayer(name, key) };
    const hold = (): void => leases.hold(namespace, lease, { type, id: name });
    const intent: Intent = { verb: "commit", namespace, key, name, parent, sequence, labels };
    const commit = (): Promise<void> =>
      backend.commit(backendName, active.backend, inherited(labels), inner, () => {
        if (this.#records.find(snapshotter, namespace, name) !== undefined) throw taken();
        this.#lookup.record(snapshotter, namespace, key);
        hold();
        leases.release(namespace, lease, { type, id: key });
        this.#finishCommit(snapshotter, backendName, intent);
      });
    await this.#intents.during(snapshotter, backendName, intent, backend, commit, hold);
    this.#publish(namespace, "commit", SnapshotCommit.encode({ key, name, snapshotter }).finish());
  }

  /** Removes a snapshot that is nobody's parent. */
  async remove(namespace: string, lease: string | undefined, snapshotter: string, key: string): Promise<void> {
    await this.#remove(namespace, snapshotter, key, () =>
      this.#parts.leases.release(namespace, lease, { type: `snapshots/${snapshotter}`, id: key }),
    );
    this.#publish(namespace, "remove", SnapshotRemove.encode({ key, snapshotter }).finish());
  }

  /**
   * Removes a snapshot that nobody needs any more: for the collector.
   * @param stillUnused asked within the transaction, before the record goes; false leaves the snapshot alone
   * @returns whether it was removed
   */
  async collect(namespace: string, snapshotter: string, key: string, stillUnused: () => boolean): Promise<boolean> {
    const used = new Error("used again");
    try {
      await this.#remove(namespace, snapshotter, key, () => {
        if (!stillUnused()) throw used;
      });
    } catch (error) {
      if (error === used) return false;
      throw error;
    }
    this.#publish(namespace, "remove", SnapshotRemove.encode({ key, snapshotter }).finish());
    return true;
  }

  /**
   * All snapshots of a namespace that a filter lets through, by key.
   * Filters know `name`, `parent`, `kind` (active, view, committed) and `labels`.
   */
  async *list(namespace: string, snapshotter: string, filters: readonly string[]): AsyncIterable<SnapshotInfo> {
    const backend = this.#lookup.snapshotter(snapshotter);
    const filter = parse(filters);
    let count = 0;
    for (const record of this.#records.pages(snapshotter, namespace)) {
      if (++count % PAUSE_EVERY === 0) await new Promise<void>((resolve) => setImmediate(resolve));
      let info: SnapshotInfo;
      try {
        info = overlaid(await backend.stat(record.backend), record);
      } catch (error) {
        if (error instanceof ContainerdError && error.code === Code.NotFound) continue;
        throw error;
      }
      if (passes(filter, info)) yield info;
    }
  }

  /** Resolves when the files of everything removed are gone. */
  async cleanup(snapshotter: string): Promise<void> {
    const backend = this.#lookup.snapshotter(snapshotter);
    await this.#intents.settleAll(snapshotter, backend);
    await backend.cleanup();
  }

  /** Ends all snapshotters; the database is still open. */
  async close(): Promise<void> {
    await Promise.all([...this.#parts.snapshotters.values()].map((snapshotter) => snapshotter.close()));
  }

  async #remove(namespace: string, snapshotter: string, key: string, alongside: () => void): Promise<void> {
    const backend = this.#lookup.snapshotter(snapshotter);
    const removeRecord = (): void => {
      this.#lookup.record(snapshotter, namespace, key);
      if (this.#records.hasChildren(snapshotter, namespace, key)) {
        throw failedPrecondition("cannot remove snapshot with child: failed precondition");
      }
      // The collector looks at the record once more: it may have been labelled, or made, since it was found unneeded.
      alongside();
      this.#records.remove(snapshotter, namespace, key);
    };
    const record = this.#lookup.record(snapshotter, namespace, key);
    if (this.#records.hasChildren(snapshotter, namespace, key)) {
      throw failedPrecondition("cannot remove snapshot with child: failed precondition");
    }
    // A remote snapshot may have records in several namespaces.
    if (this.#records.countOfBackend(snapshotter, record.backend) > 1) {
      await this.#parts.database.commit(removeRecord);
      return;
    }
    if (backend.isRemote) {
      await this.#intents.remove(snapshotter, record.backend, backend, removeRecord);
      return;
    }
    try {
      await backend.remove(record.backend, removeRecord);
    } catch (error) {
      // A record whose tree is gone must not stay for ever.
      if (!(error instanceof ContainerdError && error.code === Code.NotFound)) throw error;
      await this.#parts.database.commit(removeRecord);
    }
  }

  /** Inside a transaction: the snapshotter has committed; the record of the name takes the place of the key's. */
  #finishCommit(snapshotter: string, backend: string, intent: Intent & { verb: "commit" }): void {
    const { namespace, key, name, parent, sequence, labels } = intent;
    this.#records.remove(snapshotter, namespace, key);
    this.#intents.drop(snapshotter, backend);
    if (this.#records.find(snapshotter, namespace, name) !== undefined) return;
    const now = nowMicros();
    const made = { key: name, parent, kind: Kind.Committed, backend, createdAt: now, updatedAt: now, labels };
    this.#records.insert(snapshotter, namespace, sequence, made);
  }

  #publish(namespace: string, verb: "prepare" | "commit" | "remove", value: Uint8Array): void {
    const name = `containerd.events.Snapshot${verb[0]?.toUpperCase()}${verb.slice(1)}`;
    this.#parts.publisher.publish(namespace, `/snapshot/${verb}`, { name, value });
  }
}

/** Filters of a list, whose mistakes containerd tells of without their code. @throws ContainerdError Unknown */
function parse(filters: readonly string[]): Filter {
  try {
    return parseFilters(filters);
  } catch (error) {
    throw unknown(messageOf(error).replace(/(: invalid argument)+$/, ": invalid argument"), error);
  }
}
