/**
 * The layout of containerd's overlayfs snapshotter (plugins/snapshots/overlay): `fs` holds the changes, `work` is the
 * kernel's. A tree without parents is a bind mount, for an overlay needs two layers.
 */

import { existsSync } from "node:fs";
import { chown, stat } from "node:fs/promises";
import { release } from "node:os";
import { unknown } from "../../proto/errdefs.ts";
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
  const maps = canMapIds ? mapOptions(chain.labels) : [];
  if (nearest === undefined) return [bind(`${path(id)}/fs`, [...maps, kind === Kind.View ? "ro" : "rw"])];
  if (kind === Kind.View && parents.length === 1) return [bind(`${path(nearest)}/fs`, [...maps, "ro"])];
  const own = kind === Kind.Active ? [`workdir=${path(id)}/work`, `upperdir=${path(id)}/fs`] : [];
  const lower = `lowerdir=${parents.map((parent) => `${path(parent)}/fs`).join(":")}`;
  return [{ type: "overlay", source: "overlay", target: "", options: [...maps, ...own, lower, ...options] }];
}

function bind(source: string, options: readonly string[]): SnapshotMount {
  return { type: "bind", source, target: "", options: [...options, "rbind"] };
}

const UIDS = "containerd.io/snapshot/uidmapping";
const GIDS = "containerd.io/snapshot/gidmapping";

/** True for kernels whose overlays can have lower directories with mapped ids: Linux 5.19 and later. */
const canMapIds = ((): boolean => {
  const [major = 0, minor = 0] = release().split(".").map(Number);
  return major > 5 || (major === 5 && minor >= 19);
})();

/**
 * What containerd 2.1's overlayfs says that it can do: clients that do not read "remap-ids" give a copy of the image
 * other owners themselves, and with the options here beside it the ids would be mapped twice.
 */
export const overlayCapabilities: readonly string[] = [...(canMapIds ? ["remap-ids"] : []), "only-remap-ids"];

/** Options that say how whoever mounts shall map ids. */
function mapOptions(labels: Labels): string[] {
  const [users, groups] = [labels[UIDS], labels[GIDS]];
  return [...(users === undefined ? [] : [`uidmap=${users}`]), ...(groups === undefined ? [] : [`gidmap=${groups}`])];
}

/** The host's user and group for root in the container, when labels map users or groups. */
function ownerByLabels(labels: Labels): { uid: number; gid: number } | undefined {
  const [users, groups] = [labels[UIDS], labels[GIDS]];
  if (users === undefined && groups === undefined) return undefined;
  return { uid: rootOf(users ?? ""), gid: rootOf(groups ?? "") };
}

/** The host id of id 0 in a mapping `container:host:size`, of which there may be several with commas between. */
function rootOf(mapping: string): number {
  let root = 0;
  for (const part of mapping === "" ? [] : mapping.split(",")) {
    const found = /^(\d+):(\d+):(\d+)$/.exec(part);
    if (found === null) {
      throw unknown(`failed to unmarshal snapshot ID mapped labels: input value ${part} unparsable: expected integer`);
    }
    if (found[1] === "0" && Number(found[3]) > 0) root = Number(found[2]);
  }
  return root;
}
