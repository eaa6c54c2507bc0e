/** The Snapshots service. */

import type { containerd } from "../../proto/gen/supervisor.js";
import type { SnapshotService } from "../snapshot/service.ts";
import type { SnapshotInfo, SnapshotMount } from "../snapshot/snapshotter.ts";
import { timestampOf } from "../store/time.ts";
import type { Handlers } from "./server.ts";

/** Infos in one message of a list. */
const PER_MESSAGE = 100;

export function snapshotsService(snapshots: SnapshotService): Handlers<"containerd.services.snapshots.v1.Snapshots"> {
  return {
    async Prepare({ snapshotter, key, parent, labels }, { namespace, lease }) {
      return { mounts: mountsOf(await snapshots.prepare(namespace, lease, snapshotter, key, parent, labels)) };
    },
    async View({ snapshotter, key, parent, labels }, { namespace, lease }) {
      return { mounts: mountsOf(await snapshots.view(namespace, lease, snapshotter, key, parent, labels)) };
    },
    async Mounts({ snapshotter, key }, { namespace }) {
      return { mounts: mountsOf(await snapshots.mounts(namespace, snapshotter, key)) };
    },
    async Commit({ snapshotter, name, key, labels, parent }, { namespace, lease }) {
      await snapshots.commit(namespace, lease, snapshotter, name, key, labels, { parent });
      return {};
    },
    async Remove({ snapshotter, key }, { namespace, lease }) {
      await snapshots.remove(namespace, lease, snapshotter, key);
      return {};
    },
    async Stat({ snapshotter, key }, { namespace }) {
      return { info: infoOf(await snapshots.stat(namespace, snapshotter, key)) };
    },
    async Update({ snapshotter, info, updateMask }, { namespace }) {
      const paths = updateMask?.paths ?? [];
      return {
        info: infoOf(await snapshots.update(namespace, snapshotter, info?.name ?? "", info?.labels ?? {}, paths)),
      };
    },
    async *List({ snapshotter, filters }, { namespace }) {
      let block: containerd.services.snapshots.v1.Info.$Properties[] = [];
      for await (const info of snapshots.list(namespace, snapshotter, filters)) {
        block.push(infoOf(info));
        if (block.length < PER_MESSAGE) continue;
        yield { info: block };
        block = [];
      }
      if (block.length > 0) yield { info: block };
    },
    Usage({ snapshotter, key }, { namespace, signal }) {
      return snapshots.usage(namespace, snapshotter, key, signal);
    },
    async Cleanup({ snapshotter }) {
      await snapshots.cleanup(snapshotter);
      return {};
    },
  };
}

function infoOf(info: SnapshotInfo): containerd.services.snapshots.v1.Info.$Properties {
  const { name, parent, kind, labels, createdAt, updatedAt } = info;
  return {
    name,
    parent,
    kind,
    labels: { ...labels },
    createdAt: timestampOf(createdAt),
    updatedAt: timestampOf(updatedAt),
  };
}

function mountsOf(mounts: readonly SnapshotMount[]): containerd.types.Mount.$Properties[] {
  return mounts.map(({ type, source, target, options }) => ({ type, source, target, options: [...options] }));
}
