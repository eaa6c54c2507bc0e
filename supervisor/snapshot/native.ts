/**
 * The layout of containerd's native snapshotter (plugins/snapshots/native): a tree's directory holds all of its files, a
 * new tree is a copy of its parent, and every mount is a bind mount.
 */

import type { Layout } from "./local.ts";
import { Kind } from "./snapshotter.ts";
import { copyTree } from "./tree/process.ts";

/** The layout of native. */
export const nativeLayout: Layout = {
  skeleton: { mode: 0o755, entries: [] },
  mountsCall: "failed to get snapshot mount",
  // A view of something is that something, mounted to be read.
  hasDirectory: (kind, hasParent) => kind === Kind.Active || !hasParent,
  files: (directory) => directory,
  async fill(directory, parent) {
    if (parent !== undefined) await copyTree(parent, directory);
  },
  mounts({ id, kind, parents: [nearest] }, path) {
    const isView = kind === Kind.View;
    const source = path(isView && nearest !== undefined ? nearest : id);
    return [{ type: "bind", source, target: "", options: ["rbind", isView ? "ro" : "rw"] }];
  },
};
