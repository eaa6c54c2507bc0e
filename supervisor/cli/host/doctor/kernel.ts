/** The kernel: its version, what it can do, and its limits. */

import { release } from "node:os";
import { area, type Diagnosis, type Place } from "./check.ts";
import { isThere, numberOf, textOf } from "./read.ts";

const { ok, warn, fail } = area("kernel");

/** The oldest kernel that berth is made for. */
const OLDEST = [5, 4] as const;
const namespaces = ["mnt", "pid", "net", "ipc", "uts", "user", "cgroup"];
/** Each shim takes one inotify instance, and so does systemd for each of its users. */
const INSTANCES = 512;

export function lookAtKernel(place: Place, version = release()): Diagnosis[] {
  return [versionOf(version), architecture(), namespacesOf(place), overlay(place), seccomp(place), ...limits(place)];
}

function versionOf(text: string): Diagnosis {
  const [, major = "0", minor = "0"] = /^(\d+)\.(\d+)/.exec(text) ?? [];
  const isNew = Number(major) > OLDEST[0] || (Number(major) === OLDEST[0] && Number(minor) >= OLDEST[1]);
  if (isNew) return ok("version", text);
  return fail("version", text, `berth needs Linux ${OLDEST.join(".")} or later: upgrade the kernel`);
}

function architecture(): Diagnosis {
  const { arch } = process;
  return arch === "x64" || arch === "arm64"
    ? ok("architecture", arch)
    : fail("architecture", arch, "berth runs on x86-64 and arm64");
}

function namespacesOf(place: Place): Diagnosis {
  const missing = namespaces.filter((name) => !isThere(place, `/proc/self/ns/${name}`));
  if (missing.length === 0) return ok("namespaces", namespaces.join(" "));
  return fail(
    "namespaces",
    `missing: ${missing.join(" ")}`,
    "use a kernel with CONFIG_NAMESPACES and all of its kinds",
  );
}

function overlay(place: Place): Diagnosis {
  const known = textOf(place, "/proc/filesystems") ?? "";
  if (/\boverlay$/m.test(known)) return ok("overlayfs", "the kernel has it");
  // A module is loaded by the first mount.
  const modules = textOf(place, `/lib/modules/${release()}/modules.dep`) ?? "";
  const builtIn = textOf(place, `/lib/modules/${release()}/modules.builtin`) ?? "";
  if (/\/overlay\.ko/.test(modules + builtIn)) return ok("overlayfs", "a module that is loaded when it is needed");
  return warn(
    "overlayfs",
    "the kernel does not have it",
    "modprobe overlay, or use a kernel with CONFIG_OVERLAY_FS; with the native snapshotter every layer is a whole copy",
  );
}

function seccomp(place: Place): Diagnosis {
  const status = textOf(place, "/proc/self/status") ?? "";
  if (/^Seccomp:/m.test(status)) return ok("seccomp", "the kernel has it");
  return warn(
    "seccomp",
    "the kernel does not have it",
    "use a kernel with CONFIG_SECCOMP_FILTER; without it containers may make every system call",
  );
}

function limits(place: Place): Diagnosis[] {
  const instances = numberOf(place, "/proc/sys/fs/inotify/max_user_instances");
  const found: Diagnosis[] = [];
  if (instances === undefined)
    found.push(warn("inotify instances", "unknown", "use a kernel with CONFIG_INOTIFY_USER"));
  else if (instances >= INSTANCES) found.push(ok("inotify instances", `${instances} a user`));
  else {
    found.push(
      warn(
        "inotify instances",
        `${instances} a user: as many containers can run at most, since each shim takes one`,
        `sysctl -w fs.inotify.max_user_instances=${INSTANCES * 2}, and the same in /etc/sysctl.d/berth.conf`,
      ),
    );
  }
  const keys = numberOf(place, "/proc/sys/kernel/keys/root_maxkeys");
  if (keys !== undefined && keys < 1000) {
    found.push(
      warn("kernel keys", `${keys} for root: each container takes one`, "sysctl -w kernel.keys.root_maxkeys=1000000"),
    );
  }
  const pids = numberOf(place, "/proc/sys/kernel/pid_max");
  if (pids !== undefined && pids < 4096)
    found.push(warn("processes", `${pids} at most`, "sysctl -w kernel.pid_max=32768"));
  const files = numberOf(place, "/proc/sys/fs/file-max");
  if (files !== undefined && files < 65_536)
    found.push(warn("open files", `${files} at most`, "sysctl -w fs.file-max=1048576"));
  return found;
}
