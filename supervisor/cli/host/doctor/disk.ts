/** The disk: room, inodes, and what kind of file system it is. */

import { existsSync, statfsSync } from "node:fs";
import { dirname } from "node:path";
import { decimalSize } from "../../output/size.ts";
import { area, type Diagnosis, type Place } from "./check.ts";

const { ok, warn, fail } = area("disk");

/** Magic numbers of statfs(2). */
const TMPFS = 0x01021994;
const RAMFS = 0x858458f6;
const OVERLAY = 0x794c7630;
const NFS = 0x6969;
const kinds: ReadonlyMap<number, string> = new Map([
  [0xef53, "ext4"],
  [0x58465342, "xfs"],
  [0x9123683e, "btrfs"],
  [0xf2f52010, "f2fs"],
  [TMPFS, "tmpfs"],
  [RAMFS, "ramfs"],
  [OVERLAY, "overlay"],
  [NFS, "nfs"],
  [0x73717368, "squashfs"],
]);
const LITTLE = 1e9;
const NONE = 1e8;

export function lookAtDisk({ root, state }: Place): Diagnosis[] {
  return [...room(root), kindOfRoot(root), stateDirectory(state)];
}

/** What statfs says of the nearest directory that exists. */
function statusOf(path: string): { path: string; status: ReturnType<typeof statfsSync> } | undefined {
  let at = path;
  while (!existsSync(at) && at !== "/") at = dirname(at);
  try {
    return { path: at, status: statfsSync(at) };
  } catch {
    return undefined;
  }
}

function room(root: string): Diagnosis[] {
  const found = statusOf(root);
  if (found === undefined) return [fail("room", `${root} cannot be looked at`, "look at mount and dmesg")];
  const { bsize, blocks, bavail, files, ffree } = found.status;
  const [free, total] = [Number(bavail) * Number(bsize), Number(blocks) * Number(bsize)];
  const text = `${decimalSize(free)} free of ${decimalSize(total)} for ${root}`;
  const advice = "berth system df shows what takes it, berth prune removes what nobody uses";
  const part = total > 0 ? free / total : 0;
  const diagnoses = [
    free < NONE
      ? fail("room", text, advice)
      : free < LITTLE || part < 0.1
        ? warn("room", text, advice)
        : ok("room", text),
  ];
  // Some file systems have as many inodes as there is room.
  if (Number(files) > 0) {
    const left = Number(ffree) / Number(files);
    const inodes = `${ffree} of ${files} inodes free`;
    const more =
      "images of many small files take them: berth prune -a, or a file system with more inodes (mkfs.ext4 -N)";
    diagnoses.push(
      left < 0.01 ? fail("inodes", inodes, more) : left < 0.1 ? warn("inodes", inodes, more) : ok("inodes", inodes),
    );
  }
  return diagnoses;
}

function kindOfRoot(root: string): Diagnosis {
  const type = Number(statusOf(root)?.status.type ?? 0) >>> 0;
  const name = kinds.get(type) ?? `type 0x${type.toString(16)}`;
  if (type === TMPFS || type === RAMFS) {
    return fail("file system", `${root} is on ${name}: nothing of it survives a reboot`, "put --root on a disk");
  }
  if (type === OVERLAY) {
    return warn(
      "file system",
      `${root} is on overlay, on which overlayfs does not stand`,
      "put --root on a disk, or a volume of one",
    );
  }
  if (type === NFS)
    return warn("file system", `${root} is on NFS, on which overlayfs does not stand`, "put --root on a local disk");
  return ok("file system", name);
}

function stateDirectory(state: string): Diagnosis {
  const type = Number(statusOf(state)?.status.type ?? 0) >>> 0;
  if (type === TMPFS || type === RAMFS) return ok("state directory", `${state} is on ${kinds.get(type)}`);
  return warn(
    "state directory",
    `${state} is on a disk: it is written with every container, and a reboot leaves it behind`,
    "put --state on a tmpfs, such as below /run",
  );
}
