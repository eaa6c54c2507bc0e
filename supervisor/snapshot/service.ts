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
  notFound,
  unknown,
} from "../../proto/errdefs.ts";
import { containerd } from "../../proto/gen/supervisor.js";
import { Code } from "../../proto/ttrpc/status.ts";
import type { Publisher } from "../event/publisher.ts";
import type { Log } from "../log/log.ts";
import type { Database } from "../store/database.ts";
import { parseFilters } from "../store/filter.ts";
import { checkLabels, type Labels } from "../store/labels.ts";
import { quote } from "../store/quote.ts";
import { nowMicros } from "../store/time.ts";
import { backendKey, inherited, overlaid, passes, REF } from "./info.ts";
import { type Intent, Intents } from "./intents.ts";
import { type SnapshotRecord, SnapshotRecords } from "./records.ts";
import {
  type CommitOptions,
  Kind,
  type SnapshotInfo,
  type SnapshotMount,
  type Snapshotter,
  type Usage,
} from "./snapshotter.ts";
import { updatedLabels } from "./trees.ts";

/** Leases, as far as snapshots need them. */
export interface Holds {
  /** Inside the caller's transaction; nothing happens without a lease. @throws ContainerdError NotFound */
  hold(namespace: string, lease: string | undefined, resource: { type: string; id: string }): void;
  /** Inside the caller's transaction. */
  release(namespace: string, lease: string | undefined, resource: { type: string; id: string }): void;
}

/** What the service works with. */
export interface SnapshotServiceParts {
  readonly database: Database;
  readonly leases: Holds;
  readonly namespaces: { require(namespace: string): void };
  readonly publisher: Publisher;
  /** By name. */
  readonly snapshotters: ReadonlyMap<string, Snapshotter>;
  readonly log: Pick<Log, "warn">;
}

const { SnapshotCommit, SnapshotPrepare, SnapshotRemove } = containerd.events;

/** The snapshots of all namespaces. */
export class SnapshotService {
  readonly #parts: SnapshotServiceParts;
  readonly #records: SnapshotRecords;
  readonly #intents: Intents;

  constructor(parts: SnapshotServiceParts) {
    this.#parts = parts;
    this.#records = new SnapshotRecords(parts.database);
    this.#intents = new Intents(parts.database, (...commit) => this.#finishCommit(...commit), parts.log);
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
    const backend = this.#snapshotter(snapshotter);
    const record = this.#get(snapshotter, namespace, key);
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
    const backend = this.#snapshotter(snapshotter);
    if (name === "") throw invalidArgument("invalid argument");
    const before = this.#get(snapshotter, namespace, name);
    const change = (record: SnapshotRecord): Record<string, string> => {
      const updated = updatedLabels(record.labels, labels, paths, name);
      checkLabels(updated, "info.Labels: ");
      return updated;
    };
    const info = await backend.update(before.backend, inherited(change(before)), paths, () => {
      const record = this.#get(snapshotter, namespace, name);
      this.#records.relabel(snapshotter, namespace, name, change(record));
    });
    return overlaid(info, this.#get(snapshotter, namespace, name));
  }

  async usage(namespace: string, snapshotter: string, key: string, signal?: AbortSignal): Promise<Usage> {
    const backend = this.#snapshotter(snapshotter);
    return backend.usage(this.#get(snapshotter, namespace, key).backend, signal);
  }

  async mounts(namespace: string, snapshotter: string, key: string): Promise<readonly SnapshotMount[]> {
    const backend = this.#snapshotter(snapshotter);
    return backend.mounts(this.#get(snapshotter, namespace, key).backend);
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
    const mounts = await this.#create("prepare", namespace, lease, snapshotter, key, parent, labels);
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
    return this.#create("view", namespace, lease, snapshotter, key, parent, labels);
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
    const backend = this.#snapshotter(snapshotter);
    checkLabels(labels, "info.Labels: ");
    if (name === "") throw unknown("bucket name required");
    const taken = () => alreadyExists(`snapshot ${quote(name)}: already exists`);
    const type = `snapshots/${snapshotter}`;
    if (this.#records.find(snapshotter, namespace, name) !== undefined) {
      // As containerd does: who finds the snapshot made wants to keep it.
      await database.commit(() => leases.hold(namespace, lease, { type, id: name }));
      throw taken();
    }
    const active = this.#get(snapshotter, namespace, key);
    const parent = active.parent === "" ? (options.parent ?? "") : active.parent;
    const rebasedOn =
      active.parent === "" && parent !== "" ? this.#parent(snapshotter, namespace, parent).backend : undefined;
    const sequence = this.#records.nextSequence(snapshotter, namespace);
    const backendName = backendKey(namespace, sequence, name);
    const inner = { ...options, parent: rebasedOn };
    const hold = (): void => leases.hold(namespace, lease, { type, id: name });
    const intent: Intent = { verb: "commit", namespace, key, name, parent, sequence, labels };
    await this.#guarded(snapshotter, backendName, intent, hold, () =>
      backend.commit(backendName, active.backend, inherited(labels), inner, () => {
        if (this.#records.find(snapshotter, namespace, name) !== undefined) throw taken();
        this.#get(snapshotter, namespace, key);
        hold();
        leases.release(namespace, lease, { type, id: key });
        this.#finishCommit(snapshotter, backendName, intent);
      }),
    );
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
   * @param stillUnused asked within the transaction; false leaves the snapshot alone
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
    const backend = this.#snapshotter(snapshotter);
    const filter = parseFilters(filters);
    for (const record of this.#records.pages(snapshotter, namespace)) {
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
    const backend = this.#snapshotter(snapshotter);
    await this.#intents.settleAll(snapshotter, backend);
    await backend.cleanup();
  }

  /** Ends all snapshotters; the database is still open. */
  async close(): Promise<void> {
    await Promise.all([...this.#parts.snapshotters.values()].map((snapshotter) => snapshotter.close()));
  }

  async #create(
    verb: "prepare" | "view",
    namespace: string,
    lease: string | undefined,
    snapshotter: string,
    key: string,
    parent: string,
    labels: Labels,
  ): Promise<readonly SnapshotMount[]> {
    const { leases, database, namespaces } = this.#parts;
    const backend = this.#snapshotter(snapshotter);
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
    const above = parent === "" ? undefined : this.#parent(snapshotter, namespace, parent);
    const sequence = this.#records.nextSequence(snapshotter, namespace);
    const made = backendKey(namespace, sequence, key);
    const kind = verb === "view" ? Kind.View : Kind.Active;
    const write = (record: SnapshotRecord): void => {
      namespaces.require(namespace);
      leases.hold(namespace, lease, { type, id: record.key });
      if (this.#records.find(snapshotter, namespace, record.key) !== undefined) {
        throw alreadyExists(`snapshot ${quote(record.key)}: already exists`);
      }
      if (above !== undefined && this.#parent(snapshotter, namespace, parent).backend !== above.backend) {
        throw invalidArgument(`mismatched parent ${parent} from target ${target}: invalid argument`);
      }
      this.#records.insert(snapshotter, namespace, sequence, record);
    };
    const use = (): void => this.#records.useSequence(snapshotter, namespace, sequence);
    try {
      return await this.#guarded(snapshotter, made, { verb: "make" }, use, () =>
        backend[verb](made, above?.backend ?? "", inherited(labels), () => {
          const now = nowMicros();
          write({ key, parent, kind, backend: made, createdAt: now, updatedAt: now, labels });
          this.#intents.drop(snapshotter, made);
        }),
      );
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

  async #remove(namespace: string, snapshotter: string, key: string, alongside: () => void): Promise<void> {
    const backend = this.#snapshotter(snapshotter);
    const removeRecord = (): void => {
      this.#get(snapshotter, namespace, key);
      if (this.#records.hasChildren(snapshotter, namespace, key)) {
        throw failedPrecondition("cannot remove snapshot with child: failed precondition");
      }
      this.#records.remove(snapshotter, namespace, key);
      alongside();
    };
    const record = this.#get(snapshotter, namespace, key);
    if (this.#records.hasChildren(snapshotter, namespace, key)) {
      throw failedPrecondition("cannot remove snapshot with child: failed precondition");
    }
    // A remote snapshot may have records in several namespaces.
    if (this.#records.countOfBackend(snapshotter, record.backend) > 1) {
      await this.#parts.database.commit(removeRecord);
      return;
    }
    if (backend.isRemote) {
      await this.#removeRemote(snapshotter, backend, record.backend, removeRecord);
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

  /** The client is told that it is done when the record is gone; what cannot be removed yet is removed later. */
  async #removeRemote(snapshotter: string, backend: Snapshotter, key: string, removeRecord: () => void): Promise<void> {
    let isGone = false;
    const remove = async (): Promise<void> => {
      isGone = true;
      await backend.remove(key, () => this.#intents.drop(snapshotter, key));
    };
    try {
      await this.#intents.during(snapshotter, key, { verb: "remove" }, backend, remove, removeRecord);
    } catch (error) {
      if (!isGone) throw error;
      this.#parts.log.warn("a proxy snapshotter did not remove a snapshot", { snapshotter, key, error });
    }
  }

  /** Runs a change with an intent when it happens in another process. @param alongside in the intent's transaction */
  #guarded<T>(
    snapshotter: string,
    backend: string,
    intent: Intent,
    alongside: () => void,
    change: () => Promise<T>,
  ): Promise<T> {
    const through = this.#snapshotter(snapshotter);
    if (!through.isRemote) return change();
    return this.#intents.during(snapshotter, backend, intent, through, change, alongside);
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

  #snapshotter(name: string): Snapshotter {
    if (name === "") throw invalidArgument("snapshotter argument missing: invalid argument");
    const snapshotter = this.#parts.snapshotters.get(name);
    if (snapshotter === undefined) throw invalidArgument(`snapshotter not loaded: ${name}: invalid argument`);
    return snapshotter;
  }

  #get(snapshotter: string, namespace: string, key: string): SnapshotRecord {
    const record = this.#records.find(snapshotter, namespace, key);
    if (record === undefined) throw notFound(`snapshot ${key} does not exist: not found`);
    return record;
  }

  #parent(snapshotter: string, namespace: string, parent: string): SnapshotRecord {
    const record = this.#records.find(snapshotter, namespace, parent);
    if (record === undefined) throw notFound(`parent snapshot ${parent} does not exist: not found`);
    return record;
  }

  #publish(namespace: string, verb: "prepare" | "commit" | "remove", value: Uint8Array): void {
    const name = `containerd.events.Snapshot${verb[0]?.toUpperCase()}${verb.slice(1)}`;
    this.#parts.publisher.publish(namespace, `/snapshot/${verb}`, { name, value });
  }
}
