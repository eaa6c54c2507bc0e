/** Runtime specs of containers that ctr has no flags for, on a root file system of their own. */

import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "./command.ts";
import type { Daemon } from "./daemon.ts";
import { applets, findBusybox } from "./image.ts";

/** A range of user or group ids in a user namespace. */
interface IdMapping {
  containerID: number;
  hostID: number;
  size: number;
}

/** The parts of a runtime spec that tests change. */
export interface Spec {
  process: {
    args: string[];
    terminal: boolean;
    user: { uid: number; gid: number };
    env: string[];
    [key: string]: unknown;
  };
  root: { path: string; readonly: boolean };
  mounts: { destination: string; type?: string; source?: string; options?: string[] }[];
  annotations?: Record<string, string>;
  linux: {
    namespaces: { type: string; path?: string }[];
    cgroupsPath?: string;
    uidMappings?: IdMapping[];
    gidMappings?: IdMapping[];
    [key: string]: unknown;
  };
}

/** Makes a root file system of busybox and returns its path. */
export function makeRootfs(path: string): string {
  for (const name of ["bin", "dev", "etc", "proc", "sys", "tmp"]) mkdirSync(join(path, name), { recursive: true });
  writeFileSync(join(path, "bin/busybox"), readFileSync(findBusybox()), { mode: 0o755 });
  for (const name of applets.split(" ")) symlinkSync("busybox", join(path, "bin", name));
  return path;
}

/**
 * Writes a runtime spec for `ctr containers create --config`, as `runc spec` makes it, with a root file system of its
 * own beside it and the cgroup that ctr would give. Returns its path.
 */
export async function writeSpec(
  daemon: Daemon,
  id: string,
  command: readonly string[],
  change: (spec: Spec) => void = () => {},
): Promise<string> {
  const dir = join(daemon.dir, `spec-${id}`);
  mkdirSync(dir);
  await run(["runc", "spec", "--bundle", dir], { check: true });
  const path = join(dir, "config.json");
  const spec = JSON.parse(readFileSync(path, "utf8")) as Spec;
  spec.process.args = [...command];
  spec.process.terminal = false;
  spec.root = { path: makeRootfs(join(dir, "rootfs")), readonly: false };
  spec.linux.cgroupsPath = `/${daemon.namespace}/${id}`;
  change(spec);
  writeFileSync(path, JSON.stringify(spec));
  return path;
}
