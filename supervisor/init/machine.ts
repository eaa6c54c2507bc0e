/** Whether process 1 is that of a machine, and what a machine needs at its end. */

import { messageOf } from "../../proto/errdefs.ts";
import { detach, mountAll, readFileIfExists, readLink } from "../../shim/linux/index.ts";
import { say } from "./say.ts";

/** The pid namespace that the kernel starts with has the same inode on every machine (PROC_PID_INIT_INO). */
const FIRST_NAMESPACE = "pid:[4026531836]";

/** True for the first process of a machine, false for that of a container. */
export function isMachine(): boolean {
  return readLink("/proc/self/ns/pid") === FIRST_NAMESPACE;
}

/** The mounts of devices in the text of a mountinfo file, last mounted first. */
export function deviceMounts(mountinfo: string): string[] {
  const found: string[] = [];
  for (const line of mountinfo.split("\n")) {
    const [before = "", after = ""] = line.split(" - ");
    const path = before.split(" ")[4];
    if (path === undefined || !(after.split(" ")[1] ?? "").startsWith("/dev/")) continue;
    found.unshift(path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8))));
  }
  return found;
}

/** Takes the file systems of devices away, and makes the root read-only, so that they need no repair at the next boot. */
export function remountReadOnly(): void {
  for (const path of deviceMounts(readFileIfExists("/proc/self/mountinfo") ?? "")) {
    try {
      if (path === "/") mountAll([{ type: "", source: "", target: "", options: ["remount", "ro"] }], path);
      else detach(path);
    } catch (error) {
      say("warning", `cannot unmount ${path}: ${messageOf(error)}`);
    }
  }
}
