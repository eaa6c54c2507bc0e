/** What a daemon says of itself that containers depend on: where it keeps things, and its snapshotters. */

import { dirname, join } from "node:path";
import type { Api } from "../client/api.ts";

/** Where berthd is when nobody says otherwise. */
const ROOT = "/var/lib/berth";
const STATE = "/run/berth";
const CONTENT = "io.containerd.content.v1";
const METADATA = "io.containerd.metadata.v1";
const SNAPSHOTTER = "io.containerd.snapshotter.v1";
/** Tried in this order. */
const preferred = ["overlayfs", "native"];

/** A daemon's place. */
export interface Place {
  /** Directory under which logs, volumes and network files of its containers are. */
  readonly root: string;
  /** Directory for what need not outlive the machine. */
  readonly state: string;
  /** True for berthd: what is its own can be asked of it. */
  readonly isBerthd: boolean;
  /** The snapshotter that is used when none is named. */
  readonly snapshotter: string;
}

/** Asks a daemon. @throws CallError */
export async function placeOf(api: Api): Promise<Place> {
  const filters = [CONTENT, METADATA, SNAPSHOTTER].map((type) => `type==${type}`);
  const { plugins } = await api.call("containerd.services.introspection.v1.Introspection", "Plugins", { filters });
  const find = (type: string) => plugins.find((plugin) => plugin.type === type);
  const content = find(CONTENT)?.exports?.["root"];
  const metadata = find(METADATA)?.exports;
  const isBerthd = metadata?.["path"]?.endsWith("/berth.db") ?? false;
  const works = plugins.filter(({ type, initErr }) => type === SNAPSHOTTER && !initErr).map(({ id }) => id ?? "");
  const configured = (isBerthd && metadata?.["snapshotter"]) || "";
  const own = content === undefined ? ROOT : dirname(content);
  return {
    // Beside what containerd keeps itself, what is ours has a directory.
    root: isBerthd || content === undefined ? own : join(own, "berth"),
    state: (isBerthd ? metadata?.["state"] : undefined) ?? STATE,
    isBerthd,
    snapshotter:
      process.env["CONTAINERD_SNAPSHOTTER"] ||
      [configured, ...preferred].find((name) => works.includes(name)) ||
      works[0] ||
      "overlayfs",
  };
}
