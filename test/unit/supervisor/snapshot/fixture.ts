/** A snapshot service over a database and directories of its own. */

import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { notFound } from "../../../../proto/errdefs.ts";
import { containerd } from "../../../../proto/gen/supervisor.js";
import { SnapshotService } from "../../../../supervisor/snapshot/service.ts";
import type { Snapshotter } from "../../../../supervisor/snapshot/snapshotter.ts";
import { openSnapshotters, type SnapshottersOptions } from "../../../../supervisor/snapshot/snapshotters.ts";
import { Database } from "../../../../supervisor/store/database.ts";
import { migrations } from "../../../../supervisor/store/schema.ts";

/** What was told, and what is held. */
export interface Fixture extends AsyncDisposable {
  readonly root: string;
  readonly service: SnapshotService;
  readonly database: Database;
  readonly snapshotters: ReadonlyMap<string, Snapshotter>;
  /** Events as `topic key name parent`. */
  readonly events: string[];
  /** Leases as `namespace lease type id`. */
  readonly held: Set<string>;
  readonly warnings: string[];
  /** Closes everything and opens it again, as a start of the daemon does. */
  reopen(disk?: Pick<SnapshottersOptions, "boot" | "syncs">): Promise<Fixture>;
  /** Opens it again as it is, without a stop: as after a crash. */
  crash(disk?: Pick<SnapshottersOptions, "boot" | "syncs">): Fixture;
}

/** @param more snapshotters beside native and overlayfs */
export function openFixture(
  more: ReadonlyMap<string, Snapshotter> = new Map(),
  root = mkdtempSync(join(tmpdir(), "berth-snapshot-")),
  disk: Pick<SnapshottersOptions, "boot" | "syncs"> = {},
): Fixture {
  const database = new Database(join(root, "berth.db"), migrations);
  const [events, warnings, held] = [[] as string[], [] as string[], new Set<string>()];
  const log = { warn: (message: string, fields?: unknown) => warnings.push(`${message} ${JSON.stringify(fields)}`) };
  const opened = openSnapshotters({ database, root, log, ...disk });
  const snapshotters = new Map([...opened.map(({ id, snapshotter }) => [id, snapshotter] as const), ...more]);
  const named = (namespace: string, lease: string, resource: { type: string; id: string }): string =>
    `${namespace} ${lease} ${resource.type} ${resource.id}`;
  const service = new SnapshotService({
    database,
    log,
    snapshotters,
    namespaces: { require: () => undefined },
    leases: {
      hold(namespace, lease, resource) {
        if (lease === "missing") throw notFound(`lease "missing": not found`);
        if (lease !== undefined) held.add(named(namespace, lease, resource));
      },
      release(namespace, lease, resource) {
        if (lease !== undefined) held.delete(named(namespace, lease, resource));
      },
    },
    publisher: {
      publish(_namespace, topic, { name, value }) {
        const types = containerd.events as unknown as Record<string, { decode(bytes: Uint8Array): object }>;
        const event = types[name.replace("containerd.events.", "")]?.decode(value);
        events.push(`${topic} ${JSON.stringify(event)}`);
      },
    },
  });
  const close = async (): Promise<void> => {
    await service.close();
    database.close();
  };
  return {
    root,
    service,
    database,
    snapshotters,
    events,
    held,
    warnings,
    async reopen(then = disk) {
      await close();
      return openFixture(more, root, then);
    },
    crash(then = disk) {
      database.close();
      // In another place: what still runs of this one makes directories.
      const copy = mkdtempSync(join(tmpdir(), "berth-snapshot-"));
      cpSync(root, copy, { recursive: true });
      rmSync(root, { recursive: true, force: true });
      return openFixture(more, copy, then);
    },
    async [Symbol.asyncDispose]() {
      await close().catch(() => undefined);
      rmSync(root, { recursive: true, force: true });
    },
  };
}
