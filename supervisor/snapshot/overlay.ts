/**
 * The layout of containerd's overlayfs snapshotter (plugins/snapshots/overlay): `fs` holds the changes, `work` is the
 * kernel's. A tree without parents is a bind mount, for an overlay needs two layers.
 */

import { existsSync } from "node:fs";
import { chown, stat } from "node:fs/promises";
import { invalidArgument } from "../../proto/errdefs.ts";
import type { Labels } from "../store/labels.ts";
import { syncDirectory } from "./directories.ts";
import type { Layout } from "./local.ts";
import { Kind, type SnapshotMount } from "./snapshotter.ts";
import type { Chain } from "./trees.ts";

/** How the overlays are mounted. */
export interface OverlayOptions {
  /** Mount options put behind those that name directories; undefined for what the kernel needs. */
  readonly mountOptions?: readonly string[];
}

/** The layout of overlayfs. */
export function overlayLayout(options: OverlayOptions = {}): Layout {
  const mountOptions = options.mountOptions ?? defaultOptions();
  return {
    skeleton: {
      mode: 0o700,
      entries: [
        ["fs", 0o755],
        ["work", 0o711],
      ],
    },
    mountsCall: "failed to get active mount",
    hasDirectory: () => true,
    files: (directory) => `${directory}/fs`,
    async fill(directory, parent, labels) {
      // The root of an overlay has the owner of its upper directory.
      const owner = ownerByLabels(labels) ?? (parent === undefined ? undefined : await stat(`${parent}/fs`));
      if (owner === undefined || (owner.uid === 0 && owner.gid === 0)) return;
      await chown(`${directory}/fs`, owner.uid, owner.gid);
      await syncDirectory(`${directory}/fs`);
    },
    mounts: (chain, path) => overlayMounts(chain, path, mountOptions),
  };
}

/** The options that containerd 2.1 adds on this kernel. */
function defaultOptions(): string[] {
  return existsSync("/sys/module/overlay/parameters/index") ? ["index=off"] : [];
}

function overlayMounts(chain: Chain, path: (id: number) => string, options: readonly string[]): SnapshotMount[] {
  const { id, kind, parents } = chain;
  const [nearest] = parents;
  if (nearest === undefined) return [bind(`${path(id)}/fs`, kind === Kind.View ? "ro" : "rw")];
  if (kind === Kind.View && parents.length === 1) return [bind(`${path(nearest)}/fs`, "ro")];
  const own = kind === Kind.Active ? [`workdir=${path(id)}/work`, `upperdir=${path(id)}/fs`] : [];
  const lower = `lowerdir=${parents.map((parent) => `${path(parent)}/fs`).join(":")}`;
  return [{ type: "overlay", source: "overlay", target: "", options: [...own, lower, ...options] }];
}

function bind(source: string, access: "ro" | "rw"): SnapshotMount {
  return { type: "bind", source, target: "", options: [access, "rbind"] };
}

/** The host's user and group for root in the container, when labels map users and groups. */
function ownerByLabels(labels: Labels): { uid: number; gid: number } | undefined {
  const [users, groups] = [labels["containerd.io/snapshot/uidmapping"], labels["containerd.io/snapshot/gidmapping"]];
  if (users === undefined && groups === undefined) return undefined;
  return { uid: rootOf(users ?? ""), gid: rootOf(groups ?? "") };
}

/** The host id of id 0 in a mapping `container:host:size`, of which there may be several with commas between. */
function rootOf(mapping: string): number {
  for (const part of mapping.split(",")) {
    const found = /^(\d+):(\d+):(\d+)$/.exec(part);
    if (found?.[1] === "0" && Number(found[3]) > 0) return Number(found[2]);
  }
  throw invalidArgument(
    `failed to unmarshal snapshot ID mapped labels: ${JSON.stringify(mapping)} maps no id to 0: invalid argument`,
  );
}
