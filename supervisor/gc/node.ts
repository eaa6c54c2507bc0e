/** Things that the collector keeps or removes, and the labels by which they refer to each other (core/metadata/gc.go). */

import type { Labels } from "../store/labels.ts";

/** Kinds of things. Containers are never removed; they only keep others. */
export type NodeKind = "container" | "content" | "image" | "ingest" | "lease" | "snapshot";

/** One thing. A flat one keeps itself (a snapshot its parents too), but not what its labels refer to. */
export interface Node {
  readonly kind: NodeKind;
  readonly namespace: string;
  /** Its id, digest, name, ref; of a snapshot SNAPSHOTTER/KEY. */
  readonly key: string;
  readonly isFlat?: boolean;
}

/** What tells one node from every other; a flat one has the identity of the thing itself. */
export function idOf({ kind, namespace, key }: Node): string {
  return `${kind}\0${namespace}\0${key}`;
}

/** A snapshot. */
export function snapshotNode(namespace: string, snapshotter: string, key: string, isFlat = false): Node {
  return { kind: "snapshot", namespace, key: `${snapshotter}/${key}`, isFlat };
}

/** The two parts of a snapshot's key: names of snapshotters have no slash. */
export function splitSnapshotKey(key: string): { snapshotter: string; name: string } {
  const slash = key.indexOf("/");
  return { snapshotter: key.slice(0, slash), name: key.slice(slash + 1) };
}

/** All labels of the collector begin like this. */
export const GC_LABELS = "containerd.io/gc.";

const REF = "containerd.io/gc.ref.";
const BREF = "containerd.io/gc.bref.";
const EXPIRE = "containerd.io/gc.expire";
const FLAT = "containerd.io/gc.flat";
const ROOT = "containerd.io/gc.root";

const kinds = ["container", "content", "image"] as const;

/** What a label's key, after `gc.ref.` or `gc.bref.`, refers to; undefined for nothing. */
function targetOf(namespace: string, rest: string, value: string): Node | undefined {
  if (rest.startsWith("snapshot.")) {
    // What follows a slash tells apart several references to one snapshotter.
    const [snapshotter = ""] = rest.slice("snapshot.".length).split("/");
    return snapshotNode(namespace, snapshotter, value);
  }
  for (const kind of kinds) {
    if (rest === kind || rest.startsWith(`${kind}.`) || rest.startsWith(`${kind}/`)) {
      return { kind, namespace, key: value };
    }
  }
  return undefined;
}

/** What a thing with these labels keeps. */
export function references(namespace: string, labels: Labels): Node[] {
  return targets(namespace, labels, REF).filter(({ kind }) => kind !== "container");
}

/** What keeps a thing with these labels. */
export function backReferences(namespace: string, labels: Labels): Node[] {
  return targets(namespace, labels, BREF);
}

function targets(namespace: string, labels: Labels, prefix: string): Node[] {
  const found: Node[] = [];
  for (const [key, value] of Object.entries(labels)) {
    const target = key.startsWith(prefix) ? targetOf(namespace, key.slice(prefix.length), value) : undefined;
    if (target) found.push(target);
  }
  return found;
}

/** True when a label makes the thing a root. */
export function isRoot(labels: Labels): boolean {
  return Object.keys(labels).some((key) => key.startsWith(ROOT));
}

/** True for a lease whose things are kept alone, without what they refer to. */
export function isFlat(labels: Labels): boolean {
  return Object.hasOwn(labels, FLAT);
}

/** True when a label says that the thing's time is over. @param now milliseconds since 1970 */
export function isExpired(labels: Labels, now: number): boolean {
  const text = Object.hasOwn(labels, EXPIRE) ? labels[EXPIRE] : undefined;
  // RFC 3339; anything else is no expiration, as for containerd.
  if (text === undefined || !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/.test(text)) return false;
  return Date.parse(text) < now;
}
