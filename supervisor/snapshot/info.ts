/** Snapshots between the two key spaces: that of a namespace, and that of the snapshotter. */

import { type Filter, fieldsOf } from "../store/filter.ts";
import type { Labels } from "../store/labels.ts";
import type { SnapshotRecord } from "./records.ts";
import type { Kind, SnapshotInfo } from "./snapshotter.ts";

/** Of a remote snapshot: the name that it will have when it is committed. */
export const REF = "containerd.io/snapshot.ref";
/** Begins labels that snapshotters are told of. */
const INHERITED = "containerd.io/snapshot/";

/** The key in the snapshotter of a namespace's snapshot. */
export function backendKey(namespace: string, sequence: number, key: string): string {
  return `${namespace}/${sequence}/${key}`;
}

/** True for the key under which containerd's clients, and transfers, unpack a layer (`extract-UNIQUE CHAIN-ID`). */
export function isUnpacking(key: string): boolean {
  return key.startsWith("extract-");
}

/** True when a commit is the end of unpacking a layer, which can be done again from its blob. */
export function isLayer(name: string, key: string): boolean {
  return isUnpacking(key) && /^sha256:[0-9a-f]{64}$/.test(name) && key.endsWith(` ${name}`);
}

/** The labels that a snapshotter is told of. */
export function inherited(labels: Labels): Labels {
  return Object.fromEntries(Object.entries(labels).filter(([key]) => key === REF || key.startsWith(INHERITED)));
}

/** What the snapshotter knows, with what the record knows better. */
export function overlaid(info: SnapshotInfo, record: SnapshotRecord): SnapshotInfo {
  const { key, parent, createdAt, updatedAt, labels } = record;
  return { kind: info.kind, name: key, parent, createdAt, updatedAt, labels: { ...info.labels, ...labels } };
}

const kindNames: Readonly<Record<Kind, string>> = { 0: "", 1: "view", 2: "active", 3: "committed" };

/** True when a filter lets a snapshot through. */
export function passes(filter: Filter, info: SnapshotInfo): boolean {
  const { name, parent, kind, labels } = info;
  return filter(fieldsOf({ name, parent, kind: kindNames[kind] }, labels));
}
