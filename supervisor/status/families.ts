/** What Prometheus is told of the node as a whole. */

import { isPinned } from "../image/pinned.ts";
import { type Family, single } from "../metrics/text.ts";
import type { Database } from "../store/database.ts";
import { decodeLabels } from "../store/labels.ts";
import { nodeStatus } from "./node.ts";

/** @param boots see {@link countBoots} */
export function nodeFamilies(database: Pick<Database, "all" | "get">, boots: number | undefined): Family[] {
  const { uptime, load, memory, clock } = nodeStatus(boots);
  const count = (sql: string): number => database.get<{ count: number | null }>(sql)?.count ?? 0;
  const pinned = database
    .all<{ labels: string }>("SELECT labels FROM images")
    .filter(({ labels }) => isPinned(decodeLabels(labels)));
  const isSynchronized = clock.isSynchronized ?? true;
  return [
    ...(boots === undefined
      ? []
      : [single("berth_boots_total", "counter", "Boots with berthd on the machine.", boots)]),
    single("berth_node_uptime_seconds", "gauge", "Time since the kernel's start.", uptime),
    single("berth_node_load1", "gauge", "Load of the last minute.", load[0] ?? Number.NaN),
    single("berth_node_memory_bytes", "gauge", "Memory of the machine.", memory.total),
    single("berth_node_memory_available_bytes", "gauge", "Memory that programs may still have.", memory.available),
    single(
      "berth_node_clock_ok",
      "gauge",
      "0: the clock was never set, or is known not to be synchronised.",
      clock.isPlausible && isSynchronized ? 1 : 0,
    ),
    single(
      "berth_containers",
      "gauge",
      "Containers, whether they run or not.",
      count("SELECT COUNT(*) AS count FROM containers"),
    ),
    single("berth_images", "gauge", "Images by name.", count("SELECT COUNT(*) AS count FROM images")),
    single("berth_images_pinned", "gauge", "Images that nothing takes away by itself.", pinned.length),
    single(
      "berth_content_bytes",
      "gauge",
      "Bytes of all blobs.",
      count("SELECT SUM(size) AS count FROM (SELECT DISTINCT digest, size FROM blobs)"),
    ),
    single(
      "berth_snapshots_bytes",
      "gauge",
      "Bytes of unpacked layers.",
      count("SELECT SUM(size) AS count FROM trees"),
    ),
  ];
}
