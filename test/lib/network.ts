/** Containers with networks, made by ctr as any client would make them. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type NetworkPaths, networkPaths } from "../../supervisor/network/paths.ts";
import { prepareNetwork } from "../../supervisor/network/prepare.ts";
import type { NetworkRequest } from "../../supervisor/network/request.ts";
import type { NetworkMode } from "../../supervisor/network/spec.ts";
import type { Result } from "./command.ts";
import type { Daemon } from "./daemon.ts";
import { dist, runtime } from "./paths.ts";
import { writeSpec } from "./spec.ts";

/** How a container is made. */
export interface NetworkedOptions {
  readonly request?: Partial<NetworkRequest>;
  readonly mode?: NetworkMode;
  readonly labels?: Readonly<Record<string, string>>;
  /** Throw when it does not start; true unless told. */
  readonly check?: boolean;
}

/** A shell that waits for ever, and ends at once when it is told to. */
export const idle = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"];

/** The places of a daemon of the tests. */
export function pathsOf(daemon: Daemon): NetworkPaths {
  return networkPaths(daemon.root);
}

/** Makes a container and starts it. @throws CommandError */
export async function runNetworked(
  daemon: Daemon,
  id: string,
  command: readonly string[],
  { request = {}, mode = "cni", labels = {}, check = true }: NetworkedOptions = {},
): Promise<Result> {
  const paths = pathsOf(daemon);
  const full = { networks: [{ name: paths.defaultNetwork }], ports: [], hostname: id, ...request };
  const made = await prepareNetwork(paths, { namespace: daemon.namespace, id, mode, request: full });
  const config = await writeSpec(daemon, id, command, (spec) => {
    spec.mounts.push(...made.mounts);
    const more = spec as unknown as Record<string, unknown>;
    more["hooks"] = JSON.parse(JSON.stringify(made.hooks).replaceAll(hookPath, join(dist, "berth")));
    more["hostname"] = id;
    spec.annotations = { ...spec.annotations, ...made.annotations };
    const others = spec.linux.namespaces.filter(({ type }) => type !== "network");
    spec.linux.namespaces = [...others, ...made.namespaces];
  });
  const flags = Object.entries({ ...made.labels, ...labels }).flatMap(([name, value]) => [
    "--label",
    `${name}=${value}`,
  ]);
  return daemon.ctr(["run", "--runtime", runtime, "--config", config, "--detach", "--null-io", ...flags, id], {
    check,
    timeout: 60_000,
  });
}

/** From sources, hooks are the executable that is built here; BERTH_TEST_DIST may name another. */
const hookPath = join(import.meta.dir, "../../dist/berth");

/** Ends a container and removes it. */
export async function removeNetworked(daemon: Daemon, ...ids: readonly string[]): Promise<void> {
  for (const id of ids) {
    await daemon.ctr(["tasks", "delete", "--force", id]);
    await daemon.ctr(["containers", "delete", id], { check: true });
  }
}

/** The pid of a container's first process. */
export async function pidOf(daemon: Daemon, id: string): Promise<number> {
  const { stdout } = await daemon.ctr(["tasks", "ls"], { check: true });
  const row = stdout.split("\n").map((line) => line.trim().split(/\s+/));
  return Number(row.find((fields) => fields[0] === id)?.[1]);
}

/** The hosts of a container, as it sees them. */
export function hostsOf(daemon: Daemon, id: string): string {
  return readFileSync(join(pathsOf(daemon).root, "containers", daemon.namespace, id, "hosts"), "utf8");
}
