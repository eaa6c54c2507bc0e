/** Takes damaged layers away where nothing stands on them, so that their images can be unpacked anew. */

import { messageOf } from "../../proto/errdefs.ts";
import type { About } from "../check/finding.ts";
import type { CheckRecords } from "../check/records.ts";
import type { Repaired } from "./blobs.ts";
import { restoreImage } from "./images.ts";
import type { Known, NamedImage } from "./known.ts";
import type { RepairRooms } from "./rooms.ts";

type Row = CheckRecords["snapshots"][number];
type Damaged = Extract<About, { kind: "snapshot" | "tree" }>;

const COMMITTED = 3;

/** Snapshots of one moment, and what stands on them. */
class Forest {
  readonly #records: CheckRecords;
  readonly #children = new Map<string, Row[]>();

  constructor(records: CheckRecords) {
    this.#records = records;
    for (const row of records.snapshots) {
      if (row.parent === "") continue;
      const parent = `${row.snapshotter} ${row.namespace} ${row.parent}`;
      this.#children.set(parent, [...(this.#children.get(parent) ?? []), row]);
    }
  }

  /** The snapshots that a finding is about: a tree may be one of several namespaces. */
  rowsOf(about: Damaged): Row[] {
    const { snapshots, trees } = this.#records;
    if (about.kind === "snapshot") {
      const { snapshotter, namespace, key } = about;
      return snapshots.filter((r) => r.snapshotter === snapshotter && r.namespace === namespace && r.key === key);
    }
    const tree = trees.find(({ id }) => id === about.id);
    return snapshots.filter((row) => row.snapshotter === tree?.snapshotter && row.backend === tree.key);
  }

  /** A snapshot with all that stands on it, children before their parents. */
  withChildren(row: Row, seen = new Set<Row>()): Row[] {
    if (seen.has(row)) return [];
    seen.add(row);
    const children = this.#children.get(`${row.snapshotter} ${row.namespace} ${row.key}`) ?? [];
    return [...children.flatMap((child) => this.withChildren(child, seen)), row];
  }

  /** The container whose snapshot it is. */
  containerOf({ snapshotter, namespace, key }: Row): string | undefined {
    return this.#records.containers.find(
      (row) => row.snapshotter === snapshotter && row.namespace === namespace && row.snapshot_key === key,
    )?.id;
  }
}

/**
 * Repairs what a finding tells of a snapshot: it is removed with all that stands on it, when those are layers of images
 * and none is a container's, and the images are unpacked anew.
 */
export async function repairSnapshot(
  rooms: RepairRooms,
  known: Known,
  records: CheckRecords,
  about: Damaged,
  context: { readonly signal: AbortSignal; readonly told: (what: string) => void },
): Promise<Repaired> {
  const forest = new Forest(records);
  const seen = new Set<Row>();
  const doomed = forest.rowsOf(about).flatMap((row) => forest.withChildren(row, seen));
  if (doomed.length === 0) return left("no snapshot is made of it: it is removed in time");
  const images = new Map<string, { image: NamedImage; snapshotters: Set<string> }>();
  for (const row of doomed) {
    const { snapshotter, namespace, key, kind } = row;
    // What an unpacking that was cut off has left is nobody's.
    if (kind !== COMMITTED && key.startsWith("extract-")) continue;
    const container = forest.containerOf(row);
    if (container !== undefined) {
      return left(
        `container ${namespace}/${container} stands on it: remove the container, repair, and make it anew from its image`,
      );
    }
    const image = kind === COMMITTED ? known.imageOfLayer(namespace, key) : undefined;
    if (image === undefined) return left(`${namespace}/${key} is of no image, and cannot be made anew: remove it`);
    const name = `${namespace} ${image.name}`;
    const entry = images.get(name) ?? { image, snapshotters: new Set<string>() };
    images.set(name, entry);
    entry.snapshotters.add(snapshotter);
  }
  for (const { snapshotter, namespace, key } of doomed) {
    try {
      context.told(`removing the damaged layer ${namespace}/${key}`);
      await rooms.snapshots.remove(namespace, undefined, snapshotter, key);
    } catch (error) {
      return left(`it cannot be removed: ${messageOf(error)}`);
    }
  }
  const outcomes: Repaired[] = [];
  for (const { image, snapshotters } of images.values()) {
    outcomes.push(await restoreImage(rooms, image, [...snapshotters], context));
  }
  const removed = `${doomed.length} damaged ${doomed.length === 1 ? "layer was" : "layers were"} removed`;
  const details = [removed, ...outcomes.map(({ detail }) => detail)];
  return { isRepaired: outcomes.every(({ isRepaired }) => isRepaired), detail: details.join("; ") };
}

function left(detail: string): Repaired {
  return { isRepaired: false, detail };
}
