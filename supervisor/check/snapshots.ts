/** Snapshots against the trees that they stand for, and those against their directories. */

import { lstat } from "node:fs/promises";
import { join } from "node:path";
import { forEach, namesIn } from "./content.ts";
import type { About, Finding } from "./finding.ts";
import type { CheckRecords } from "./records.ts";

/** Snapshotters that keep trees; the others are processes of their own. */
const local = ["overlayfs", "native"] as const;
const VIEW = 1;
const ACTIVE = 2;

/** @param root of the daemon */
export async function checkSnapshots(records: CheckRecords, root: string): Promise<Finding[]> {
  const findings: Finding[] = [];
  const add = (severity: Finding["severity"], subject: string, problem: string, about?: About): void => {
    findings.push({ severity, area: "snapshot", subject, problem, ...(about && { about }) });
  };
  const trees = new Map(records.trees.map((tree) => [`${tree.snapshotter} ${tree.key}`, tree]));
  const byId = new Map(records.trees.map((tree) => [tree.id, tree]));
  const used = new Set<string>();
  for (const { snapshotter, namespace, key, backend, kind } of records.snapshots) {
    if (!(local as readonly string[]).includes(snapshotter)) continue;
    used.add(`${snapshotter} ${backend}`);
    const tree = trees.get(`${snapshotter} ${backend}`);
    const subject = `${snapshotter}/${namespace}/${key}`;
    const about = { kind: "snapshot", snapshotter, namespace, key } as const;
    if (tree === undefined)
      add("error", subject, `its tree ${backend} is not there: remove it, and unpack again`, about);
    else if (tree.kind !== kind) add("error", subject, `is of kind ${kind} and its tree of kind ${tree.kind}`);
  }
  for (const [name, { id, parent, snapshotter }] of trees) {
    const subject = `${snapshotter}/${id}`;
    if (!used.has(name)) add("note", subject, "is a tree of no snapshot: garbage, removed in time");
    if (parent !== null && !byId.has(parent))
      add("error", subject, `its parent ${parent} is not there`, { kind: "tree", id });
  }
  for (const { id, snapshotter, synced } of records.trees) {
    const subject = `${snapshotter}/${id}`;
    const about = { kind: "tree", id } as const;
    if (synced === 2) add("error", subject, "the disk did not take its files: remove it, and unpack again", about);
    else if (synced !== 1)
      add("note", subject, "is not on disk yet: it is synced, or after a power cut unpacked again");
  }
  const bySnapshot = new Map(records.snapshots.map((row) => [`${row.snapshotter} ${row.namespace} ${row.key}`, row]));
  for (const { namespace, id, snapshotter, snapshot_key: key } of records.containers) {
    const { backend = "" } = bySnapshot.get(`${snapshotter} ${namespace} ${key}`) ?? {};
    for (let tree = trees.get(`${snapshotter} ${backend}`); tree !== undefined; tree = byId.get(tree.parent ?? 0)) {
      if (tree.synced === 1) continue;
      add("error", `${namespace}/${id}`, `its container stands on tree ${tree.id}, which is not known to be on disk`);
      break;
    }
  }
  const last = records.trees.reduce((most, { id }) => Math.max(most, id), 0);
  for (const snapshotter of local) {
    const directory = join(root, `io.containerd.snapshotter.v1.${snapshotter}`, "snapshots");
    const own = records.trees.filter((tree) => tree.snapshotter === snapshotter);
    await forEach(own, async (tree) => {
      const { id } = tree;
      for (const each of directoriesOf(tree, join(directory, String(id)))) {
        const found = await lstat(each).catch(() => undefined);
        if (found?.isDirectory()) continue;
        const problem = `its directory ${each} is missing: remove the snapshot, and unpack again`;
        add("error", `${snapshotter}/${id}`, problem, { kind: "tree", id });
      }
    });
    const ids = new Set(own.map(({ id }) => String(id)));
    for (const name of await namesIn(directory)) {
      // Numbers that no tree has reached yet are made in advance.
      if (!ids.has(name) && !(Number(name) > last))
        add("note", `${snapshotter}/${name}`, "is a directory without a record: waste, removed in time");
    }
  }
  return findings;
}

/** What must be there of a tree. */
function directoriesOf({ snapshotter, kind, parent }: CheckRecords["trees"][number], path: string): string[] {
  // What native shows of something else is that something.
  if (snapshotter === "native") return kind === VIEW && parent !== null ? [] : [path];
  return [join(path, "fs"), ...(kind === ACTIVE ? [join(path, "work")] : [])];
}
