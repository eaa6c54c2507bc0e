/** The snapshotters of one daemon. */

import { join } from "node:path";
import type { Log } from "../log/log.ts";
import type { Database } from "../store/database.ts";
import { bootId, takeBack } from "./boot.ts";
import { TreeIds } from "./directories.ts";
import { type Layout, LocalSnapshotter } from "./local.ts";
import { nativeLayout } from "./native.ts";
import { overlayCapabilities, overlayLayout } from "./overlay.ts";
import { type Commit, ProxySnapshotter } from "./proxy.ts";
import type { Syncs } from "./settling.ts";
import type { Snapshotter } from "./snapshotter.ts";
import { lastTreeId } from "./trees.ts";

/** What snapshotters are made of. */
export interface SnapshottersOptions {
  readonly database: Database;
  /** The daemon's root: each snapshotter has a directory in it. */
  readonly root: string;
  readonly log: Pick<Log, "warn">;
  /** Snapshotters in other processes: the socket of each by its name. */
  readonly proxies?: ReadonlyMap<string, string>;
  /** The boot of the kernel, and ways to the disk: other ones in tests. */
  readonly boot?: string | undefined;
  readonly syncs?: Syncs | undefined;
}

/** A snapshotter with what the plugin list says about it. */
export interface NamedSnapshotter {
  readonly id: string;
  /** Where its directories are; undefined for one in another process. */
  readonly root: string | undefined;
  /** Such as `remap-ids`. */
  readonly capabilities?: readonly string[];
  readonly snapshotter: Snapshotter;
}

/**
 * Opens all snapshotters, takes back layers that a power cut may have damaged, and begins to remove what a crash has left.
 * @throws Error when a directory cannot be made, or a proxy has a name that is taken
 */
export function openSnapshotters({
  database,
  root,
  log,
  proxies = new Map(),
  boot = bootId(),
  syncs,
}: SnapshottersOptions): NamedSnapshotter[] {
  for (const id of ["native", "overlayfs"]) {
    if (proxies.has(id)) throw new Error(`proxy_plugins.${id}: the name is taken by a snapshotter of the daemon's own`);
  }
  takeBack(database, boot, log);
  const ids = new TreeIds(lastTreeId(database));
  const local = (id: string, layout: Layout, capabilities: readonly string[] = []): NamedSnapshotter => {
    const directory = join(root, `io.containerd.snapshotter.v1.${id}`);
    const snapshotter = new LocalSnapshotter({ database, ids, name: id, root: directory, layout, log, syncs });
    snapshotter.recover().then(
      (removed) => {
        if (removed.length > 0)
          log.warn("removing directories of snapshots without a record", { snapshotter: id, removed });
      },
      (error) => log.warn("cannot look for what a crash left of snapshots", { snapshotter: id, error }),
    );
    return { id, root: directory, capabilities, snapshotter };
  };
  const own = [local("native", nativeLayout), local("overlayfs", overlayLayout(), overlayCapabilities)];
  const commit: Commit = (alongside) => database.commit(alongside);
  return [
    ...own,
    ...[...proxies].map(([id, address]) => ({
      id,
      root: undefined,
      snapshotter: new ProxySnapshotter(id, address, commit),
    })),
  ];
}
