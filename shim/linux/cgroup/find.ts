/**
 * Where a process's cgroups are. One hierarchy with every controller (v2), or a hierarchy for each controller (v1); a
 * v2 tree beside v1 hierarchies has no controllers and counts as v1, as in cgroups v3.1.3 Mode(): unified only when
 * /sys/fs/cgroup itself is a cgroup2 mount.
 */

import { isDirectory, readText } from "./kernel.ts";

/** Cgroups of a container, one directory a controller. `root` goes before the paths of /proc and /sys; "" but in tests. */
export interface CgroupV1 {
  readonly version: 1;
  readonly root: string;
  /** Controller name ("memory", "cpuacct", "name=systemd") to its directory. */
  readonly controllers: ReadonlyMap<string, string>;
}

/** The one cgroup of a container in the unified hierarchy. */
export interface CgroupV2 {
  readonly version: 2;
  readonly root: string;
  /** Where the hierarchy is mounted, without a slash at the end. */
  readonly mountpoint: string;
  readonly directory: string;
}

export type Cgroup = CgroupV1 | CgroupV2;

/** The cgroup is not there: the container has not been created, or is gone. The service answers NotFound (T-STS-1). */
export class CgroupGoneError extends Error {
  override readonly name = "CgroupGoneError";

  constructor(options?: ErrorOptions) {
    super("cgroup does not exist", options);
  }
}

/** A cgroup file system as mountinfo lists it. */
export interface CgroupMount {
  version: 1 | 2;
  /** The directory of the hierarchy that the mount shows. */
  hierarchyRoot: string;
  mountpoint: string;
  /** v1: the controllers, and "name=systemd" for a named hierarchy, among other options. */
  options: readonly string[];
}

/** Undoes the octal escapes of mountinfo (space, tab, newline, backslash). */
function unescapeOctal(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/** The cgroup mounts in the text of /proc/self/mountinfo. */
export function parseMounts(mountinfo: string): CgroupMount[] {
  const mounts: CgroupMount[] = [];
  for (const line of mountinfo.split("\n")) {
    const separator = line.indexOf(" - cgroup");
    if (separator < 0) {
      continue;
    }
    const [, , , hierarchyRoot, mountpoint] = line.slice(0, separator).split(" ");
    const [type, , options] = line.slice(separator + 3).split(" ");
    if (hierarchyRoot !== undefined && mountpoint !== undefined && (type === "cgroup" || type === "cgroup2")) {
      mounts.push({
        version: type === "cgroup2" ? 2 : 1,
        hierarchyRoot: unescapeOctal(hierarchyRoot),
        mountpoint: unescapeOctal(mountpoint),
        options: (options ?? "").split(","),
      });
    }
  }
  return mounts;
}

/** The cgroup mounts of this process; `root` as in Cgroup. */
export function readMounts(root: string): CgroupMount[] {
  return parseMounts(readText(`${root}/proc/self/mountinfo`) ?? "");
}

/** The mount of the unified hierarchy when the system runs on cgroup v2 alone. */
export function unifiedMount(mounts: readonly CgroupMount[]): CgroupMount | undefined {
  return mounts.find((mount) => mount.version === 2 && mount.mountpoint === "/sys/fs/cgroup");
}

/** The text of /proc/PID/cgroup: v1 controller to path, and the unified path. */
export function parseProcCgroup(text: string): { controllers: Map<string, string>; unified: string | undefined } {
  const controllers = new Map<string, string>();
  let unified: string | undefined;
  for (const line of text.split("\n")) {
    const first = line.indexOf(":");
    const second = line.indexOf(":", first + 1);
    if (second < 0) {
      continue;
    }
    const path = line.slice(second + 1);
    const names = line.slice(first + 1, second);
    if (names === "") {
      unified = path;
      continue;
    }
    for (const name of names.split(",")) {
      controllers.set(name, path);
    }
  }
  return { controllers, unified };
}

/** The directory of cgroup `path` under `mount`; undefined when the mount does not show it. */
function locate(mount: CgroupMount, path: string): string | undefined {
  const top = mount.hierarchyRoot === "/" ? "" : mount.hierarchyRoot;
  if (path.split("/").includes("..") || !(path === top || path.startsWith(`${top}/`))) {
    return undefined;
  }
  const rest = path.slice(top.length);
  return rest === "/" ? mount.mountpoint : mount.mountpoint + rest;
}

/** True when the process has exited (a zombie's v1 cgroups all read as the root, which would be somebody else's). */
function hasExited(pid: number, root: string): boolean {
  const stat = readText(`${root}/proc/${pid}/stat`);
  if (stat === undefined) {
    return true;
  }
  const state = stat.charAt(stat.lastIndexOf(")") + 2);
  return state === "Z" || state === "X";
}

/**
 * The cgroups of a live process. To be called right after `runc create`, while init is alive, and kept for the
 * container's life: an exited process no longer tells where it was.
 * @throws CgroupGoneError when the process has exited or none of its cgroups can be seen from here.
 */
export function findCgroups(pid: number, options: { readonly root?: string } = {}): Cgroup {
  const root = options.root ?? "";
  const text = readText(`${root}/proc/${pid}/cgroup`);
  // Asked after the read: what a process that is still alive told before is true.
  if (text === undefined || hasExited(pid, root)) {
    throw new CgroupGoneError();
  }
  const { controllers, unified } = parseProcCgroup(text);
  const mounts = readMounts(root);
  const mount = unifiedMount(mounts);
  if (mount !== undefined) {
    const directory = unified === undefined ? undefined : locate(mount, unified);
    if (directory === undefined || !isDirectory(root + directory)) {
      throw new CgroupGoneError();
    }
    return { version: 2, root, mountpoint: root + mount.mountpoint, directory: root + directory };
  }
  const found = new Map<string, string>();
  for (const [name, path] of controllers) {
    for (const candidate of mounts) {
      const shows = candidate.version === 1 && candidate.options.includes(name);
      const directory = shows ? locate(candidate, path) : undefined;
      if (directory !== undefined && isDirectory(root + directory)) {
        found.set(name, root + directory);
        break;
      }
    }
  }
  if (found.size === 0) {
    throw new CgroupGoneError();
  }
  return { version: 1, root, controllers: found };
}
