/** What a repair works with: rooms of the daemon that runs, or the same over the directories of one that does not. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../../proto/errdefs.ts";
import type { Config } from "../config.ts";
import { ContentStore } from "../content/store.ts";
import { Diff } from "../diff/diff.ts";
import { Collector } from "../gc/collector.ts";
import { openRegistry } from "../image/registry/open.ts";
import type { Registry } from "../image/registry.ts";
import { Transfers } from "../image/transfer.ts";
import type { Log } from "../log/log.ts";
import { SnapshotService } from "../snapshot/service.ts";
import { openSnapshotters } from "../snapshot/snapshotters.ts";
import type { Database } from "../store/database.ts";
import { Images } from "../store/images.ts";
import { Leases } from "../store/leases.ts";
import { Namespaces } from "../store/namespaces.ts";
import { openDatabase } from "../store/open.ts";

/** The rooms. */
export interface RepairRooms {
  readonly config: Config;
  readonly log: Log;
  readonly database: Database;
  readonly content: ContentStore;
  readonly images: Images;
  readonly snapshots: SnapshotService;
  readonly transfers: Transfers;
  readonly collector: { collect(): Promise<unknown> };
}

/** A registry as hosts.toml files say it is reached, by the name of an image or a blob in it. */
export function registryOf(config: Pick<Config, "registry">, reference: string): Registry {
  const hostDirectory = config.registry.configPath.find((path) => existsSync(path)) ?? "";
  return openRegistry({ reference, headers: {}, hostDirectory, defaultScheme: "", credentials: undefined });
}

/**
 * Opens the rooms of a daemon that does not run; the caller has the lock of its root.
 * @returns the rooms, and what ends them
 * @throws Error when the database cannot be opened
 */
export async function openRepairRooms(
  config: Config,
  log: Log,
): Promise<{ rooms: RepairRooms; close: () => Promise<void> }> {
  const { root, state } = config;
  const database = await openDatabase({ root, state, reserve: config.disk.reserve, log });
  const publisher = { publish: () => undefined };
  const later = { collect: async () => undefined, schedule: () => undefined };
  const namespaces = new Namespaces(database, publisher);
  const leases = new Leases({ database, namespaces, collector: later });
  const images = new Images({ database, publisher, namespaces, leases, collector: later });
  const onError = (what: string, error: unknown): void => log.warn(what, { error: messageOf(error) });
  const directory = join(root, "io.containerd.content.v1.content");
  const content = await ContentStore.open({ directory, database, leases, namespaces, publisher, onError });
  const own = openSnapshotters({ database, root, log });
  const snapshotters = new Map(own.map(({ id, snapshotter }) => [id, snapshotter]));
  const snapshots = new SnapshotService({ database, leases, namespaces, publisher, snapshotters, log });
  const { maxSize: bytes, maxEntries: entries } = config.diff;
  const diff = new Diff({ mountPoint: join(state, "layer"), limits: { bytes, entries } });
  const defaultSnapshotter = config.snapshotter.default;
  const transfers = new Transfers({ content, images, snapshots, leases, diff, defaultSnapshotter });
  const collector = new Collector({ database, publisher, content, waste: content.waste, snapshots, onError });
  const close = async (): Promise<void> => {
    await collector.close();
    await content.close();
    await snapshots.close();
    database.close();
  };
  return { rooms: { config, log, database, content, images, snapshots, transfers, collector }, close };
}
