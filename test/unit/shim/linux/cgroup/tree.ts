/** A directory that looks like /proc and /sys to the cgroup code. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

export interface Tree {
  readonly root: string;
  write(path: string, text: string): void;
  mkdir(path: string): void;
  remove(path?: string): void;
}

/** Makes the tree from paths and texts; `remove()` ends it. */
export function makeTree(files: Readonly<Record<string, string>>): Tree {
  const root = mkdtempSync(join(tmpdir(), "berth-cgroup-"));
  const tree: Tree = {
    root,
    write: (path, text) => {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text);
    },
    mkdir: (path) => mkdirSync(join(root, path), { recursive: true }),
    remove: (path = "") => rmSync(join(root, path), { recursive: true }),
  };
  for (const [path, text] of Object.entries(files)) {
    tree.write(path, text);
  }
  return tree;
}

export const pid = 4242;

/** The lines of /proc that say where a live process is. */
export function processFiles(cgroup: string, mounts: readonly string[], state = "S"): Record<string, string> {
  return {
    [`proc/${pid}/cgroup`]: cgroup,
    [`proc/${pid}/stat`]: `${pid} (a) b) ${state} 1 2 3`,
    "proc/self/mountinfo": [
      "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw",
      ...mounts.map((mount, index) => `${30 + index} 22 0:${30 + index} ${mount}`),
      "",
    ].join("\n"),
  };
}

export const v2Mount = "/ /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate";
export const v1Mounts = [
  "/ /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755",
  "/ /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
  "/ /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory",
  "/ /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids",
  "/ /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio",
  "/ /sys/fs/cgroup/hugetlb rw - cgroup cgroup rw,hugetlb",
  "/ /sys/fs/cgroup/rdma rw - cgroup cgroup rw,rdma",
  "/ /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd",
  "/ /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
];
