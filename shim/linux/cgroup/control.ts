/** Changes to the cgroup tree that the shim makes itself; the container's own limits are runc's work. */

import { isErrno } from "../errno.ts";
import { type Cgroup, readMounts, unifiedMount } from "./find.ts";
import { isDirectory, listNames, readText, removeDirectory, writeText } from "./kernel.ts";
import { words } from "./parse.ts";

/**
 * cgroup v2: makes every controller of the root available in the container's cgroup, by switching it on in each directory
 * from the root down to the parent (T-CRE-9). Does nothing on v1. Failures are for the log only: they are returned, one
 * for each directory and controller, and the rest is still tried. Upstream: cgroup2/manager.go ToggleControllers.
 */
export function enableControllers(cgroup: Cgroup): Error[] {
  if (cgroup.version === 1) {
    return [];
  }
  const errors: Error[] = [];
  const attempt = (path: string, controllers: readonly string[]): Error | undefined => {
    try {
      writeText(path, controllers.map((name) => `+${name}`).join(" "));
      return undefined;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      return new Error(`failed to enable controllers ${controllers.join(" ")}: ${reason}`, { cause: error });
    }
  };
  const controllers = words((readText(`${cgroup.mountpoint}/cgroup.controllers`) ?? "").trim());
  const below = cgroup.directory.slice(cgroup.mountpoint.length + 1).split("/");
  for (let depth = 0; depth < below.length && cgroup.directory !== cgroup.mountpoint; depth++) {
    const path = `${[cgroup.mountpoint, ...below.slice(0, depth)].join("/")}/cgroup.subtree_control`;
    const enabled = words((readText(path) ?? "").trim());
    const missing = controllers.filter((name) => !enabled.includes(name));
    // The kernel takes a list as a whole or not at all, so a list that it refuses is tried name by name.
    if (missing.length > 0 && attempt(path, missing) !== undefined) {
      for (const name of missing) {
        const error = attempt(path, [name]);
        if (error !== undefined) {
          errors.push(error);
        }
      }
    }
  }
  return errors;
}

/** `path` with "." and ".." worked out, never above "/". */
function clean(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") {
      parts.pop();
    } else if (part !== "" && part !== ".") {
      parts.push(part);
    }
  }
  return `/${parts.join("/")}`;
}

/** Moves a process. A process that is being forked is refused with EINVAL for a moment. */
async function addProcess(directory: string, pid: number): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      writeText(`${directory}/cgroup.procs`, String(pid));
      return;
    } catch (error) {
      if (attempt === 5 || !isErrno(error, "EINVAL")) {
        throw error;
      }
      await Bun.sleep(30);
    }
  }
}

/**
 * Moves process `pid` into the existing cgroup `path` (Options.shim_cgroup, ST-9): on v1 in every hierarchy that has such
 * a cgroup, on v2 in the one hierarchy. Nothing is created. Upstream: manager_linux.go Start, cgroup1.Load, cgroup2.Load.
 * @throws Error `failed to load cgroup ...` when no hierarchy has it or the path is not allowed, `failed to join cgroup
 * ...` when the kernel refuses.
 */
export async function joinCgroup(path: string, pid: number, options: { readonly root?: string } = {}): Promise<void> {
  const root = options.root ?? "";
  const mounts = readMounts(root);
  const mount = unifiedMount(mounts);
  const directories = new Set<string>();
  if (mount !== undefined) {
    if (!path.startsWith("/") || clean(path) !== path || path.startsWith("/sys/fs/cgroup")) {
      throw new Error(`failed to load cgroup ${path}: cgroups: invalid group path`);
    }
    directories.add(root + mount.mountpoint + path);
  } else {
    for (const { version, mountpoint } of mounts) {
      const directory = root + mountpoint + clean(path);
      if (version === 1 && isDirectory(directory)) {
        directories.add(directory);
      }
    }
    if (directories.size === 0) {
      throw new Error(`failed to load cgroup ${path}: cgroups: cgroup deleted`);
    }
  }
  for (const directory of directories) {
    try {
      if (pid <= 0) {
        throw new Error("cgroups: pid must be greater than 0");
      }
      await addProcess(directory, pid);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new Error(`failed to join cgroup ${path}: ${reason}`, { cause: error });
    }
  }
}

/**
 * Kills every process in cgroup `path` and below it: for when the runtime that should do it is missing or hangs (R08).
 * Only a cgroup named from the root is touched, and only one that bears the container's id: one that was named
 * otherwise may be shared with others.
 */
export function killCgroup(path: string, id: string, options: { readonly root?: string } = {}): void {
  const name = clean(path);
  if (!path.startsWith("/") || id === "" || !name.endsWith(id)) {
    return;
  }
  const root = options.root ?? "";
  for (const mount of readMounts(root)) {
    const directory = root + mount.mountpoint + name;
    if (isDirectory(directory)) killBelow(directory);
  }
}

function killBelow(directory: string): void {
  for (const entry of listNames(directory)) {
    const below = `${directory}/${entry}`;
    if (!entry.includes(".") && isDirectory(below)) killBelow(below);
  }
  for (const pid of words((readText(`${directory}/cgroup.procs`) ?? "").replaceAll("\n", " ").trim())) {
    try {
      if (Number(pid) > 1) process.kill(Number(pid), "SIGKILL");
    } catch {
      // It has ended by itself.
    }
  }
}

/**
 * Removes cgroup `path` from every hierarchy where it is there and empty: a runc that was killed before it had written
 * its state leaves its cgroup behind, and does not know it any more. A cgroup with processes or with cgroups below stays,
 * and so does what is not named from the root: `slice:prefix:name` is systemd's to remove.
 */
export async function removeCgroup(path: string, options: { readonly root?: string } = {}): Promise<void> {
  const name = clean(path);
  if (!path.startsWith("/") || name === "/") {
    return;
  }
  const root = options.root ?? "";
  let left = readMounts(root).map((mount) => root + mount.mountpoint + name);
  for (let attempt = 0; left.length > 0 && attempt < 20; attempt++) {
    // A process that is being killed keeps its cgroup busy for a moment.
    if (attempt > 0) {
      await Bun.sleep(10);
    }
    left = left.filter((directory) => isDirectory(directory) && removeDirectory(directory) === "busy");
  }
}
