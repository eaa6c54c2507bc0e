/** What is mounted into a container beside its own file system: looked up, and made where it is to be made. */

import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmdirSync } from "node:fs";
import { join, normalize } from "node:path";
import { invalidArgument } from "../../proto/errdefs.ts";
import { copyTree, makeMount, removeMounts } from "../snapshot/tree/process.ts";
import type { OciMount } from "./oci.ts";
import type { BindMount, MountOption, VolumeMount } from "./options.ts";
import { type RootfsMount, RootfsTree } from "./rootfs-tree.ts";
import { anonymousName, bindSource, type Volumes } from "./volumes.ts";

/** What mounts are made with. */
export interface MountPlace {
  readonly volumes: Volumes;
  /** Mounts of the container's snapshot. */
  readonly rootfs: readonly RootfsMount[];
  /** A directory in which a snapshot may be mounted for a moment. */
  readonly temporary: string;
}

/** Mounts that were made. */
export interface ResolvedMounts {
  readonly binds: readonly OciMount[];
  /** Names of the volumes that are the container's own. */
  readonly anonymous: readonly string[];
}

/**
 * Looks up binds, and makes volumes: those that are asked for, and one for each place that the image says is one. A new
 * volume begins with what the image has at its place.
 * @throws ContainerdError that says what to do; then no volume of the container's own is left
 */
export async function resolveMounts(
  options: readonly MountOption[],
  imageVolumes: readonly string[],
  place: MountPlace,
): Promise<ResolvedMounts> {
  for (const { target } of options) checkTarget(target);
  const taken = new Set(options.map(({ target }) => normalize(target)));
  const implied = imageVolumes
    .map((path) => normalize(path).replace(/(.)\/+$/, "$1"))
    .filter((path) => path !== "/" && !path.includes("\0") && !taken.has(path))
    .map((target): VolumeMount => ({ type: "volume", target }));
  const binds: OciMount[] = [];
  const anonymous: string[] = [];
  try {
    for (const mount of [...options, ...implied]) {
      if (mount.type === "bind") binds.push(bindMount(mount));
      else if (mount.type === "volume") {
        const name = mount.source ?? anonymousName();
        if (mount.source === undefined) anonymous.push(name);
        binds.push(await volumeMount(name, mount, place));
      }
    }
  } catch (error) {
    removeVolumes(place.volumes, anonymous);
    throw error;
  }
  return { binds, anonymous };
}

/** Removes volumes; those that are gone are fine. */
export function removeVolumes(volumes: Volumes, names: readonly string[]): void {
  for (const name of names) if (volumes.find(name) !== undefined) volumes.remove(name);
}

function checkTarget(target: string): void {
  if (!target.startsWith("/") || target.includes("\0") || normalize(target) === "/") {
    throw invalidArgument(`mount at ${JSON.stringify(target)}: the place in the container is an absolute path below /`);
  }
}

function bindMount({ source, target, readOnly, createSource = false, propagation = "rprivate" }: BindMount): OciMount {
  if (!source.startsWith("/")) {
    throw invalidArgument(
      `bind mount: ${JSON.stringify(source)} is not absolute; for a volume give a name without slashes`,
    );
  }
  bindSource(source, createSource);
  return {
    destination: normalize(target),
    type: "bind",
    source,
    options: ["rbind", propagation, readOnly ? "ro" : "rw"],
  };
}

async function volumeMount(name: string, mount: VolumeMount, place: MountPlace): Promise<OciMount> {
  const { target, readOnly, noCopy } = mount;
  const fill = noCopy ? undefined : (path: string) => copyUp(place, normalize(target), path);
  const volume = await place.volumes.create(name, { isAnonymous: mount.source === undefined }, fill);
  return {
    destination: normalize(target),
    type: "bind",
    source: volume.path,
    options: ["rbind", "rprivate", readOnly ? "ro" : "rw"],
  };
}

/** Copies what the image has in a directory, with the directory's owner and mode. */
async function copyUp({ rootfs, temporary }: MountPlace, target: string, path: string): Promise<void> {
  const [mount] = rootfs;
  // Links are followed in the image's own tree: none leads the copy out of it.
  const entry = new RootfsTree(rootfs).find(target);
  if (mount === undefined || entry === undefined || !entry.stats.isDirectory()) return;
  mkdirSync(temporary, { recursive: true, mode: 0o700 });
  const at = mkdtempSync(join(temporary, "copy-"));
  try {
    const { type, source, options } = mount;
    await makeMount({ type, source, target: "", options: [...options.filter((option) => option !== "rw"), "ro"] }, at);
    try {
      const from = join(at, entry.path);
      if (existsSync(from) && readdirSync(path).length === 0) await copyTree(from, path);
    } finally {
      await removeMounts([at]);
    }
  } finally {
    rmdirSync(at);
  }
}
