/** What the daemon says about itself. */

import { dirname } from "node:path";
import type { Api, ResponseOf } from "../../client/api.ts";

const INTROSPECTION = "containerd.services.introspection.v1.Introspection";

type Plugin = ResponseOf<typeof INTROSPECTION, "Plugins">["plugins"][number];

/** A daemon. */
export interface ServerView {
  readonly version: string;
  readonly revision: string;
  readonly isBerthd: boolean;
  readonly uuid: string;
  /** Of the daemon; 0 where it does not say. */
  readonly pid: number;
  readonly plugins: readonly Plugin[];
  /** Its persistent directory; undefined where it does not say. */
  readonly root: string | undefined;
  readonly snapshotters: readonly string[];
}

/** Asks the daemon. @throws CallError */
export async function serverOf(api: Api): Promise<ServerView> {
  const [version, server, { plugins }] = await Promise.all([
    api.call("containerd.services.version.v1.Version", "Version", {}),
    api.call(INTROSPECTION, "Server", {}),
    api.call(INTROSPECTION, "Plugins", { filters: [] }),
  ]);
  const works = plugins.filter(({ initErr }) => !initErr);
  const content = works.find(({ type, id }) => type === "io.containerd.content.v1" && id === "content");
  const path = content?.exports?.["root"];
  return {
    version: version.version,
    revision: version.revision,
    isBerthd: version.version.includes("berth"),
    uuid: server.uuid,
    pid: Number(server.pid),
    plugins: works,
    root: path ? dirname(path) : undefined,
    snapshotters: works.filter(({ type }) => type === "io.containerd.snapshotter.v1").map(({ id }) => id ?? ""),
  };
}
