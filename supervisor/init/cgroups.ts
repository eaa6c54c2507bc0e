/** Cgroups for the containers: the hierarchy of version 2, or those of version 1 where the kernel has given them its controllers. */

import { messageOf } from "../../proto/errdefs.ts";
import { exists, makeDirectories, readFileIfExists, writeFile } from "../../shim/linux/index.ts";
import { isMounted, kernelHas, mountIfMissing } from "./mounts.ts";
import { say } from "./say.ts";

const ROOT = "/sys/fs/cgroup";
/** Where the processes go that are in the root of a container's cgroup: a group with processes has no groups with controllers below it. */
const OWN = "berth-init";
const quiet = ["nosuid", "nodev", "noexec"];

/** Mounts what is missing, and gives every controller to the groups below the root. */
export function prepareCgroups(): void {
  try {
    if (!isMounted(ROOT)) mount();
    if (exists(`${ROOT}/cgroup.controllers`)) delegate();
  } catch (error) {
    say("warning", `cgroups: ${messageOf(error)}`);
  }
}

function mount(): void {
  const bound = boundControllers(readFileIfExists("/proc/cgroups") ?? "");
  if (kernelHas("cgroup2") && bound.length === 0) {
    mountIfMissing({ path: ROOT, type: "cgroup2", options: [...quiet, "nsdelegate"] });
    return;
  }
  mountIfMissing({ path: ROOT, type: "tmpfs", options: [...quiet, "mode=0755"] });
  for (const names of hierarchies(readFileIfExists("/proc/cgroups") ?? "")) {
    mountIfMissing({ path: `${ROOT}/${names}`, type: "cgroup", options: [...quiet, ...names.split(",")] });
  }
}

interface Row {
  readonly name: string;
  readonly hierarchy: string;
}

function rows(text: string): Row[] {
  return text
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => line.split("\t"))
    .filter(([, , , enabled]) => enabled === "1")
    .map(([name = "", hierarchy = "0"]) => ({ name, hierarchy }));
}

/** Controllers that a hierarchy of version 1 has already. @param text of /proc/cgroups */
export function boundControllers(text: string): string[] {
  return rows(text)
    .filter(({ hierarchy }) => hierarchy !== "0")
    .map(({ name }) => name);
}

/** The hierarchies of version 1 to mount: controllers that are together stay so, others are each alone. @param text of /proc/cgroups */
export function hierarchies(text: string): string[] {
  const groups = new Map<string, string[]>();
  for (const { name, hierarchy } of rows(text)) {
    const key = hierarchy === "0" ? `alone ${name}` : hierarchy;
    groups.set(key, [...(groups.get(key) ?? []), name]);
  }
  return [...groups.values()].map((names) => names.join(","));
}

/**
 * Lets groups below the root have controllers. In the root of a container's own cgroup namespace the processes that are
 * there move into a group first; the real root of a machine may have both.
 */
function delegate(): void {
  const isNamespace = exists(`${ROOT}/cgroup.type`);
  if (isNamespace) {
    if (readFileIfExists("/proc/self/cgroup")?.trim() !== "0::/") return;
    makeDirectories(`${ROOT}/${OWN}`, 0o755);
    // Processes that come meanwhile are children of those that move.
    for (const pid of (readFileIfExists(`${ROOT}/cgroup.procs`) ?? "").split("\n")) {
      if (pid !== "") writeFile(`${ROOT}/${OWN}/cgroup.procs`, pid);
    }
  }
  const controllers = (readFileIfExists(`${ROOT}/cgroup.controllers`) ?? "").trim().split(" ");
  for (const name of controllers.filter((one) => one !== "")) {
    try {
      writeFile(`${ROOT}/cgroup.subtree_control`, `+${name}`);
    } catch (error) {
      say("warning", `controller ${name} of cgroups: ${messageOf(error)}`);
    }
  }
}
