/** What clients learn of a daemon before they make a container. */

import { expect, test } from "bun:test";
import type { Api } from "../../../../supervisor/client/api.ts";
import { placeOf } from "../../../../supervisor/container/place.ts";
import { type Plugin, plugins } from "../../../../supervisor/introspection/plugins.ts";

const gc = { pauseThreshold: 1, deletionThreshold: 0, mutationThreshold: 1, scheduleDelay: 0 };

/** A daemon that answers with these plugins. */
function daemon(list: readonly Plugin[]): Api {
  return { call: async () => ({ plugins: list }) } as unknown as Api;
}

function berthd(defaultSnapshotter: string): Api {
  const snapshotters = [{ id: "overlayfs", root: "/r/o" }, { id: "native" }];
  return daemon(plugins({ root: "/r", state: "/s", defaultSnapshotter, snapshotters, gc }));
}

test("berthd's directories, and the snapshotter that it is configured with", async () => {
  expect(await placeOf(berthd("overlayfs"))).toEqual({
    ...{ root: "/r", state: "/s", isBerthd: true, snapshotter: "overlayfs" },
  });
  expect(await placeOf(berthd("native"))).toMatchObject({ snapshotter: "native" });
  expect(await placeOf(berthd("nosuch"))).toMatchObject({ snapshotter: "overlayfs" });
});

test("containerd's: what is ours beside it has a directory, and its own words of a state count for nothing", async () => {
  const list = [
    {
      type: "io.containerd.content.v1",
      id: "content",
      exports: { root: "/var/lib/containerd/io.containerd.content.v1.content" },
    },
    { type: "io.containerd.metadata.v1", id: "bolt", exports: { path: "/var/lib/containerd/x/meta.db", state: "/x" } },
    { type: "io.containerd.snapshotter.v1", id: "native" },
    { type: "io.containerd.snapshotter.v1", id: "overlayfs", initErr: { code: 1 } },
  ];
  expect(await placeOf(daemon(list))).toEqual({
    ...{ root: "/var/lib/containerd/berth", state: "/run/berth", isBerthd: false, snapshotter: "native" },
  });
});
