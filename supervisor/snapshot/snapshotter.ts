/**
 * What a snapshotter is: it keeps trees of files, each made of the changes to its parent, and tells how to mount them
 * (core/snapshots/snapshotter.go says what every verb means). Snapshotters know nothing of namespaces: SnapshotService
 * gives them keys that hold a namespace.
 */

import type { Labels } from "../store/labels.ts";

/** Kinds of snapshots, by their numbers in the API. */
export const Kind = { Unknown: 0, View: 1, Active: 2, Committed: 3 } as const;
export type Kind = (typeof Kind)[keyof typeof Kind];

/** What is known of a snapshot. */
export interface SnapshotInfo {
  readonly kind: Kind;
  /** Its key while it is active or a view, its name when it is committed. */
  readonly name: string;
  /** Name of the committed snapshot that it is made of; empty for none. */
  readonly parent: string;
  readonly labels: Labels;
  /** Microseconds since 1970. */
  readonly createdAt: number;
  /** Microseconds since 1970. */
  readonly updatedAt: number;
}

/** What a snapshot takes on disk, without its parents. */
export interface Usage {
  /** Bytes. */
  readonly size: number;
  readonly inodes: number;
}

/** A mount as clients get it: they make it themselves, in their own mount namespace. */
export interface SnapshotMount {
  readonly type: string;
  readonly source: string;
  readonly target: string;
  readonly options: readonly string[];
}

/**
 * Writes the caller's own record in the transaction that makes a change of the snapshotter known, or after a change that
 * happened in another process; what it throws undoes the change.
 */
export type Alongside = () => void;

/** How a snapshot is committed. */
export interface CommitOptions {
  /** A parent for a snapshot that was prepared without one. */
  readonly parent?: string | undefined;
  /** True for a layer that can be unpacked again: its files may come to disk after the commit ({@link Snapshotter.settled}). */
  readonly isRepeatable?: boolean | undefined;
}

/**
 * A snapshotter. What a verb has done when it resolves survives a power cut, but for layers that can be unpacked again:
 * these survive when {@link Snapshotter.settled} has resolved, and are gone as a whole when the power goes before.
 *
 * All verbs throw ContainerdError: NotFound for a key that is not there, AlreadyExists for one that is, InvalidArgument,
 * FailedPrecondition, ResourceExhausted for a full disk.
 */
export interface Snapshotter {
  /** True when it is another process, so that a change there and its record here are not one transaction. */
  readonly isRemote?: boolean;
  stat(key: string): Promise<SnapshotInfo>;
  /** Replaces the labels that `paths` name, or all of them without paths; nothing else can be changed. */
  update(name: string, labels: Labels, paths: readonly string[], alongside: Alongside): Promise<SnapshotInfo>;
  /** Counts what an active snapshot takes; tells what a committed one took when it was committed. */
  usage(key: string, signal?: AbortSignal): Promise<Usage>;
  /** The mounts of an active snapshot or a view. */
  mounts(key: string): Promise<readonly SnapshotMount[]>;
  /** Makes an active snapshot: a tree that can be written to. `parent` is empty for an empty tree. */
  prepare(key: string, parent: string, labels: Labels, alongside: Alongside): Promise<readonly SnapshotMount[]>;
  /** Makes a view: a tree that can only be read. */
  view(key: string, parent: string, labels: Labels, alongside: Alongside): Promise<readonly SnapshotMount[]>;
  /** Makes the active snapshot `key` the committed snapshot `name`. */
  commit(name: string, key: string, labels: Labels, options: CommitOptions, alongside: Alongside): Promise<void>;
  /** Resolves when a snapshot and all that it is made of are on disk: at once for a key that is not there. */
  settled?(key: string): Promise<void>;
  /** {@link settled} for all snapshots. */
  allSettled?(): Promise<void>;
  /** Resolves when no snapshot is on its way to disk any more: it is there, or the disk has refused it. */
  allDecided?(): Promise<void>;
  /** Removes a snapshot that is nobody's parent. Its files go away later. */
  remove(key: string, alongside: Alongside): Promise<void>;
  /** All snapshots; of one in another process, those that it shows to the namespace. */
  list(namespace?: string): AsyncIterable<SnapshotInfo>;
  /** Resolves when the files of all that was removed are gone. */
  cleanup(): Promise<void>;
  close(): Promise<void>;
}
