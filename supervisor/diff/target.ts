/** Where a layer goes: what its mounts mean for the process that writes it. */

import { type Mount, mountAll, O, open, splitLower, unquote } from "../../shim/linux/index.ts";
import type { Place } from "./unpack.ts";

/** An open directory to have as root, and how to write there. */
export interface Target extends Place {
  readonly root: number;
}

const UPPER = "upperdir=";
const LOWER = "lowerdir=";

/**
 * Opens what the mounts are to show. An overlay that can be written is not mounted: its upper directory is written
 * itself, with overlayfs' own marks, which is what containerd does and costs no copying up. A bind is its source.
 * Anything else is mounted on `mountPoint`; the process has mounts of its own by then.
 * @throws ErrnoError, MountError
 */
export function openTarget(mounts: readonly Mount[], mountPoint: string): Target {
  const [only] = mounts;
  if (mounts.length === 1 && only !== undefined && only.target === "") {
    const upper = optionOf(only, UPPER);
    if (only.type === "overlay" && upper !== undefined) {
      const lowers = splitLower(optionOf(only, LOWER) ?? "").map(unquote);
      return {
        root: openDirectory(unquote(upper)),
        lowers: lowers.map((lower) => open(lower, O.PATH | O.DIRECTORY)),
        marks: only.options.includes("userxattr") ? "user" : "trusted",
      };
    }
    const isBind = only.options.includes("bind") || only.options.includes("rbind");
    if (isBind && !only.options.includes("ro"))
      return { root: openDirectory(only.source), lowers: [], marks: "remove" };
  }
  mountAll(mounts, mountPoint);
  return { root: openDirectory(mountPoint), lowers: [], marks: "remove" };
}

function openDirectory(path: string): number {
  return open(path, O.RDONLY | O.DIRECTORY);
}

function optionOf(mount: Mount, prefix: string): string | undefined {
  return mount.options.find((option) => option.startsWith(prefix))?.slice(prefix.length);
}
