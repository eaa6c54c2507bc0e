/** Everything that Prometheus is told. */

import { statfs } from "node:fs/promises";
import type { CallMetrics } from "./calls.ts";
import type { Collections } from "./collections.ts";
import { containerFamilies, type MeteredTask } from "./containers.ts";
import { processFamilies } from "./process.ts";
import { shimFamilies } from "./shims.ts";
import { exposition, type Family, single } from "./text.ts";

/** Where the numbers come from. */
export interface Sources {
  readonly version: string;
  readonly revision: string;
  /** The directory whose file system is measured. */
  readonly root: string;
  readonly calls: CallMetrics;
  readonly collections: Collections;
  /** Tasks that have a shim. */
  tasks(): Promise<readonly MeteredTask[]>;
  events(): { readonly subscribers: number; readonly queued: number; readonly published: number };
  log(): { readonly lines: Readonly<Record<string, number>>; readonly dropped: number };
  /** What the rooms of an edge node tell. */
  edge?(): Promise<readonly Family[]>;
}

/** The text of one scrape. */
export async function scrape(sources: Sources): Promise<string> {
  const tasks = await sources.tasks();
  const [containers, shims, disk, edge] = await Promise.all([
    containerFamilies(tasks),
    shimFamilies(tasks),
    diskFamilies(sources.root),
    sources.edge?.() ?? [],
  ]);
  const events = sources.events();
  const log = sources.log();
  const { version, revision } = sources;
  return exposition([
    ...containers.families,
    ...shims,
    ...disk,
    ...edge,
    ...processFamilies(),
    ...sources.calls.families(),
    ...sources.collections.families(),
    {
      name: "containerd_build_info_total",
      type: "counter",
      help: "What this is.",
      samples: [{ labels: { version, revision }, value: 1 }],
    },
    single("berth_tasks", "gauge", "Tasks that have a shim.", tasks.length),
    single("berth_tasks_without_stats", "gauge", "Tasks whose shim did not answer just now.", containers.failed),
    single("berth_calls_active", "gauge", "Calls that are not over.", sources.calls.active),
    single("berth_event_subscribers", "gauge", "Clients that are told of events.", events.subscribers),
    single("berth_events_queued", "gauge", "Events that wait for subscribers.", events.queued),
    single("berth_events_published_total", "counter", "Events that were told.", events.published),
    single("berth_log_lines_dropped_total", "counter", "Lines that nobody read.", log.dropped),
    {
      name: "berth_log_lines_total",
      type: "counter",
      help: "Lines of the log.",
      samples: Object.entries(log.lines).map(([level, value]) => ({ labels: { level }, value })),
    },
  ]);
}

async function diskFamilies(root: string): Promise<Family[]> {
  const found = await statfs(root).catch(() => undefined);
  if (found === undefined) return [];
  return [
    single("berth_root_available_bytes", "gauge", "Bytes left where the root is.", found.bavail * found.bsize),
    single("berth_root_available_inodes", "gauge", "Inodes left where the root is.", found.ffree),
  ];
}
