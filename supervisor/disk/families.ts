/** What Prometheus is told of the disk. */

import { type Family, single } from "../metrics/text.ts";
import type { Level, Volume } from "./volume.ts";

/** The numbers. */
export interface DiskNumbers {
  readonly volumes: readonly Volume[];
  readonly levelOf: (volume: Volume) => Level;
  /** Things that were evicted, and the room that they gave, by kind. */
  readonly counts: Readonly<Record<string, number>>;
  readonly bytes: Readonly<Record<string, number>>;
  readonly refused: number;
  readonly reserve: { readonly bytes: number; readonly isHeld: boolean };
}

const levels: readonly Level[] = ["ok", "high", "critical"];

export function diskFamilies({ volumes, levelOf, counts, bytes, refused, reserve }: DiskNumbers): Family[] {
  const byVolume = (name: string, help: string, value: (volume: Volume) => number): Family => ({
    name,
    type: "gauge",
    help,
    samples: volumes.map((volume) => ({ labels: { path: volume.paths[0] ?? "" }, value: value(volume) })),
  });
  const byKind = (name: string, help: string, values: Readonly<Record<string, number>>): Family => ({
    name,
    type: "counter",
    help,
    samples: Object.entries(values).map(([kind, value]) => ({ labels: { kind }, value })),
  });
  return [
    byVolume("berth_disk_total_bytes", "Size of the file system.", ({ total }) => total),
    byVolume("berth_disk_used_bytes", "What is used of the file system.", ({ used }) => used),
    byVolume("berth_disk_available_bytes", "What is left of the file system.", ({ available }) => available),
    byVolume("berth_disk_free_inodes", "Inodes left in the file system.", ({ freeInodes }) => freeInodes),
    byVolume("berth_disk_level", "0: at ease, 1: room is made, 2: nothing new is taken.", (volume) =>
      levels.indexOf(levelOf(volume)),
    ),
    byKind("berth_disk_evictions_total", "Things that were removed to make room.", counts),
    byKind("berth_disk_evicted_bytes_total", "Room that was made.", bytes),
    single("berth_disk_refusals_total", "counter", "New things that were refused on a full disk.", refused),
    single("berth_disk_reserve_bytes", "gauge", "Room that is kept for removals.", reserve.isHeld ? reserve.bytes : 0),
  ];
}
