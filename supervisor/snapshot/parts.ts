/** What the snapshot service is made of. */

import type { Publisher } from "../event/publisher.ts";
import type { Log } from "../log/log.ts";
import type { Database } from "../store/database.ts";
import type { Snapshotter } from "./snapshotter.ts";

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
