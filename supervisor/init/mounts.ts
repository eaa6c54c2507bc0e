/** The file systems that every machine has: mounted where they are missing, left alone where they are there. */

import { messageOf } from "../../proto/errdefs.ts";
import { exists, makeDirectories, mountAll, mountsBelow, readFileIfExists } from "../../shim/linux/index.ts";
import { say } from "./say.ts";

/** One of them. */
interface System {
  readonly path: string;
  readonly type: string;
  readonly options: readonly string[];
}

const quiet = ["nosuid", "nodev", "noexec"];
const systems: readonly System[] = [
  { path: "/proc", type: "proc", options: quiet },
  { path: "/sys", type: "sysfs", options: quiet },
  { path: "/dev", type: "devtmpfs", options: ["nosuid", "mode=0755"] },
  {
    path: "/dev/pts",
    type: "devpts",
    options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
  },
  { path: "/dev/shm", type: "tmpfs", options: ["nosuid", "nodev", "mode=1777"] },
  { path: "/dev/mqueue", type: "mqueue", options: quiet },
  { path: "/run", type: "tmpfs", options: ["nosuid", "nodev", "mode=0755"] },
];

/** Mounts what is missing. What cannot be mounted is said: the daemon may do without it. */
export function mountSystems(): void {
  for (const system of systems) mountIfMissing(system);
}

/** @returns false when it is neither there nor can be mounted */
export function mountIfMissing({ path, type, options }: System): boolean {
  try {
    if (isMounted(path)) return true;
    makeDirectories(path, 0o755);
    mountAll([{ type, source: type, target: "", options: [...options] }], path);
    return true;
  } catch (error) {
    say("warning", `cannot mount ${type} on ${path}: ${messageOf(error)}`);
    return false;
  }
}

/** True for the place of a mount. Without /proc nobody can know, and then it is none. */
export function isMounted(path: string): boolean {
  if (!exists("/proc/self/mountinfo")) return false;
  return mountsBelow(path).includes(path);
}

/** Names of the file systems that the kernel has. */
export function kernelHas(type: string): boolean {
  const known = readFileIfExists("/proc/filesystems") ?? "";
  return known.split("\n").some((line) => line.split("\t").at(-1) === type);
}
