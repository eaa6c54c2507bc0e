/** The cgroup hierarchies of this machine, seen from outside: for leak checks and cleaning. */

import { existsSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Mount points of every cgroup hierarchy, v1 and v2. */
export function cgroupRoots(): string[] {
  return readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .filter((line) => / - cgroup2? /.test(line))
    .map((line) => line.split(" ")[4] ?? "");
}

/** True when the machine has cgroup v2 alone. */
export function isCgroup2(): boolean {
  const roots = cgroupRoots();
  return roots.length === 1 && roots[0] === "/sys/fs/cgroup";
}

function subdirectories(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => join(path, entry.name));
  } catch {
    return [];
  }
}

/** A cgroup and all below it, deepest first. */
function tree(path: string): string[] {
  return [...subdirectories(path).flatMap(tree), path];
}

/** Cgroups whose name has one of the words in it, with all below them, deepest first; at any depth. */
export function findCgroups(words: readonly string[]): string[] {
  const find = (path: string): string[] =>
    subdirectories(path).flatMap((below) => {
      const name = below.slice(path.length);
      return words.some((word) => name.includes(word)) ? tree(below) : find(below);
    });
  return cgroupRoots().flatMap(find);
}

/** Lets what is frozen in cgroups run again, v1 and v2: until then a process there takes no SIGKILL on v1. */
export function thawCgroups(paths: readonly string[]): void {
  for (const path of paths.toReversed()) {
    for (const [file, running] of [["freezer.state", "THAWED"] as const, ["cgroup.freeze", "0"] as const]) {
      try {
        if (existsSync(join(path, file))) writeFileSync(join(path, file), running);
      } catch {
        // It went meanwhile.
      }
    }
  }
}

/** Removes cgroups that hold no process; returns those that stayed. */
export function removeCgroups(paths: readonly string[]): string[] {
  return paths.filter((path) => {
    try {
      rmdirSync(path);
      return false;
    } catch (error) {
      return (error as NodeJS.ErrnoException).code !== "ENOENT";
    }
  });
}
