/** Containers whose bundle is there: their records, as far as the bundle tells. */

import { readdirSync, readFileSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { containerd } from "../../../proto/gen/supervisor.js";
import { isIdentifier } from "../../../proto/identifiers.ts";
import { encodeLabels } from "../labels.ts";
import { timestampOf } from "../time.ts";
import type { RebuildOptions } from "./rebuild.ts";

const SPEC = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
/** What a record that was made from a bundle says of itself. */
export const rebuiltLabel = "berth.rebuilt";

/** Adds records for containers that have a bundle and no record. */
export function adoptBundles({ database, state }: RebuildOptions): void {
  const bundles = join(state, "io.containerd.runtime.v2.task");
  database.transaction(() => {
    for (const namespace of identifiersIn(bundles)) {
      for (const id of identifiersIn(join(bundles, namespace))) {
        const path = join(bundles, namespace, id);
        const spec = read(join(path, "config.json"));
        if (spec === undefined) continue;
        const snapshot = database.get<{ snapshotter: string }>(
          "SELECT snapshotter FROM snapshots WHERE namespace = ? AND key = ?",
          namespace,
          id,
        );
        const at = timestampOf(Math.round(statSync(join(path, "config.json")).mtimeMs * 1000));
        const snapshotter = snapshot?.snapshotter ?? "";
        const snapshotKey = snapshot === undefined ? "" : id;
        const labels = { [rebuiltLabel]: "true" };
        const runtime = runtimeOf(read(join(path, "shim-binary-path"))?.toString() ?? "");
        const record = containerd.services.containers.v1.Container.encode({
          id,
          labels,
          runtime: { name: runtime },
          spec: { type_url: SPEC, value: spec },
          snapshotter,
          snapshotKey,
          createdAt: at,
          updatedAt: at,
        }).finish();
        database.run(
          `INSERT OR IGNORE INTO containers (namespace, id, snapshotter, snapshot_key, image, runtime, sandbox, labels, record)
           VALUES (?, ?, ?, ?, '', ?, '', ?, ?)`,
          namespace,
          id,
          snapshotter,
          snapshotKey,
          runtime,
          encodeLabels(labels),
          record,
        );
      }
    }
  });
}

/** Directories whose names are identifiers. */
export function identifiersIn(path: string): string[] {
  try {
    const entries = readdirSync(path, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory() && isIdentifier(entry.name)).map(({ name }) => name);
  } catch {
    return [];
  }
}

function read(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}

/** The name of the runtime whose program this is. */
function runtimeOf(program: string): string {
  const [, name, version] = /^containerd-shim-(.+)-(v\d+)$/.exec(basename(program.trim())) ?? [];
  return name === undefined ? "io.containerd.runc.v2" : `io.containerd.${name}.${version}`;
}
