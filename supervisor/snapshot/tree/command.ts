/**
 * The hidden verb `berth tree ...`, under which the daemon starts this executable to work on trees of files: its calls
 * may take long, and are synchronous.
 */

import {
  bytesOf,
  close,
  dieWithParent,
  type Mount,
  O,
  openPath,
  setUmask,
  syncFileSystem,
} from "../../../shim/linux/index.ts";
import type { Usage } from "../snapshotter.ts";

/** Runs `tree ACTION PARENT PATH...`: answers on standard output, or complains and fails. @returns the exit status */
export async function tree(args: readonly string[]): Promise<number> {
  const [action, parent, ...paths] = args;
  const [first = "", second = ""] = paths.map(bytesOf);
  dieWithParent(Number(parent));
  setUmask(0);
  switch (action) {
    case "usage": {
      const usage: Usage = (await import("./usage.ts")).treeUsage(first);
      await Bun.write(Bun.stdout, JSON.stringify(usage));
      return 0;
    }
    case "copy":
      (await import("./copy.ts")).copyTree(first, second);
      sync(second);
      return 0;
    case "sync":
      sync(first);
      return 0;
    case "mount": {
      const [mount = "", target = ""] = paths;
      (await import("./mount.ts")).makeMount(JSON.parse(mount) as Mount, target);
      return 0;
    }
    case "unmount": {
      const { removeMount } = await import("./mount.ts");
      for (const target of paths) removeMount(target);
      return 0;
    }
    default:
      await Bun.write(Bun.stderr, "berth tree is started by the daemon\n");
      return 1;
  }
}

function sync(directory: string): void {
  const fd = openPath(directory, O.RDONLY | O.DIRECTORY);
  syncFileSystem(fd);
  close(fd);
}
