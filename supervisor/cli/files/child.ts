/**
 * The hidden verb `berth files ...`: the processes in which `berth cp` touches the files of a container. Each has the
 * container's root as its own before it looks at the first name, so that no link leads out of it, and keeps only the
 * rights that it needs.
 */

import {
  Capability,
  changeRoot,
  dieWithParent,
  forbidNewPrivileges,
  keepCapabilities,
  limitResource,
  mountAll,
  O,
  open,
  Resource,
  setUmask,
  unshareMounts,
} from "../../../shim/linux/index.ts";
import { readTree, statTree } from "./read.ts";
import type { ReadRequest, StatRequest, Tree, WriteRequest } from "./request.ts";
import { writeTree } from "./write.ts";

/** What reading and writing files of others needs. */
const kept = [
  Capability.CHOWN,
  Capability.DAC_OVERRIDE,
  Capability.FOWNER,
  Capability.FSETID,
  Capability.MKNOD,
  Capability.SETFCAP,
];

/** Runs `files ACTION REQUEST`. @returns the exit status */
export async function files(args: readonly string[]): Promise<number> {
  const [action, text = ""] = args;
  if (action !== "stat" && action !== "read" && action !== "write") {
    await Bun.write(Bun.stderr, "berth files is started by berth cp\n");
    return 1;
  }
  try {
    const request = JSON.parse(text) as StatRequest & ReadRequest & WriteRequest;
    dieWithParent(request.parent);
    setUmask(0);
    const root = enter(request);
    if (action === "stat") await Bun.write(Bun.stdout, JSON.stringify(statTree(root, request)));
    else if (action === "read") readTree(request);
    else writeTree(root, request);
    return 0;
  } catch (error) {
    await Bun.write(Bun.stderr, error instanceof Error ? error.message : String(error));
    return 1;
  }
}

/** Makes the tree the root of this process. @returns it, open */
function enter({ root: path, mounts, mountPoint }: Tree): number {
  forbidNewPrivileges();
  limitResource(Resource.CORE, 0);
  if (mounts !== undefined) {
    unshareMounts();
    mountAll(mounts, mountPoint ?? "");
  }
  const root = open(path ?? mountPoint ?? "", O.RDONLY | O.DIRECTORY);
  changeRoot(root);
  keepCapabilities(kept);
  return root;
}
