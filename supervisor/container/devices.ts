/** Devices of this machine that a container may use. */

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { invalidArgument } from "../../proto/errdefs.ts";
import { S, type Status, statusOfPath } from "../../shim/linux/index.ts";
import type { OciDevice, OciDeviceRule } from "./oci.ts";
import type { DeviceOption } from "./options.ts";

/** A device, and what the container may do with it. */
export interface ResolvedDevice {
  readonly node: OciDevice;
  readonly permissions: string;
}

/** What every container has a directory or a device of its own for. */
const own: ReadonlySet<string> = new Set(["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console"]);
/** Devices that are looked for, at most. */
const MAX_DEVICES = 4096;

/**
 * Looks devices up: a directory stands for all devices in it.
 * @throws ContainerdError InvalidArgument for what is none
 */
export function resolveDevices(options: readonly DeviceOption[]): ResolvedDevice[] {
  return options.flatMap(({ source, target, permissions }) => {
    const status = statusOfPath(source);
    if (status === undefined) {
      throw invalidArgument(`there is no device ${source} on this machine: ls -l /dev shows what there is`);
    }
    if ((status.mode & S.IFMT) === S.IFDIR) {
      return devicesIn(source).map(({ path, status }) => {
        return { node: nodeOf(target + path.slice(source.length), status), permissions };
      });
    }
    if (!isDevice(status)) throw invalidArgument(`${source} is no device: mount files and directories with -v`);
    return [{ node: nodeOf(target, status), permissions }];
  });
}

/** Every device of this machine, for a privileged container. */
export function allDevices(): ResolvedDevice[] {
  return devicesIn("/dev").map(({ path, status }) => ({ node: nodeOf(path, status), permissions: "rwm" }));
}

/** The rule of the device cgroup that lets a container use a device. */
export function ruleOf({ node, permissions }: ResolvedDevice): OciDeviceRule {
  const { type, major, minor } = node;
  return { allow: true, type, major, minor, access: permissions };
}

function devicesIn(directory: string): { path: string; status: Status }[] {
  const found: { path: string; status: Status }[] = [];
  const waiting = [directory];
  for (const at of waiting) {
    for (const name of readdirSync(at)) {
      if (at === "/dev" && own.has(name)) continue;
      const path = join(at, name);
      const status = statusOfPath(path);
      if (status === undefined) continue;
      if ((status.mode & S.IFMT) === S.IFDIR) waiting.push(path);
      else if (isDevice(status)) found.push({ path, status });
      if (found.length + waiting.length > MAX_DEVICES) return found;
    }
  }
  return found;
}

function isDevice({ mode }: Status): boolean {
  const type = mode & S.IFMT;
  return type === S.IFCHR || type === S.IFBLK;
}

function nodeOf(path: string, { mode, major, minor, uid, gid }: Status): OciDevice {
  const type = (mode & S.IFMT) === S.IFBLK ? "b" : "c";
  return { path, type, major, minor, fileMode: mode & 0o7777, uid, gid };
}
