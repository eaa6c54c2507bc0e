/** What a careless shim leaves on the machine. All of it carries the kit's token, so that the kit takes it away. */

import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { tokenVariable } from "../../conformance/rig/bundle.ts";
import { cgroupRoots } from "../../conformance/rig/machine.ts";
import type { BinaryCall } from "../fault.ts";

type Place = Pick<BinaryCall, "cwd" | "namespace" | "id">;

/** A process. */
export function leaveProcess({ namespace }: Place): void {
  Bun.spawn(["sleep", "1000"], {
    env: { [tokenVariable]: namespace },
    cwd: "/",
    stdin: "ignore",
    stdout: "ignore",
    stderr: "ignore",
    detached: true,
  }).unref();
}

/** A mount in the bundle. */
export function leaveMount({ cwd }: Place): void {
  const path = join(cwd, "rootfs");
  mkdirSync(path, { recursive: true });
  const { exitCode, stderr } = Bun.spawnSync(["mount", "--bind", path, path]);
  if (exitCode !== 0) throw new Error(stderr.toString());
}

/** The container's cgroup, in one hierarchy. */
export function leaveCgroup({ namespace, id }: Place): void {
  const root = cgroupRoots().find((path) => existsSync(join(path, namespace))) ?? cgroupRoots()[0] ?? "";
  mkdirSync(join(root, namespace, id), { recursive: true });
}

/** The state of runc. */
export function leaveState({ namespace, id }: Place): void {
  mkdirSync(join("/run/containerd/runc", namespace, id), { recursive: true });
}
