/** Leases of the plugin host-local: a file for each address, whose lines are the container's id and its interface. */

import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { isIP } from "./address.ts";
import { type Attachment, ownerOf } from "./attachments.ts";
import { isObject, type NetworkConf } from "./cni/conf.ts";
import type { NetworkPaths } from "./paths.ts";

/** Where the plugin keeps leases unless told (host-local, backend/disk). */
const defaultDir = "/var/lib/cni/networks";

/** An address that a container has. */
export interface Lease {
  readonly path: string;
  readonly ip: string;
  readonly containerId: string;
  readonly ifName: string;
}

/** Where a network's leases are; undefined when it has none of host-local's. */
export function leaseDir({ name, plugins }: Pick<NetworkConf, "name" | "plugins">): string | undefined {
  for (const { ipam } of plugins) {
    if (!isObject(ipam) || ipam["type"] !== "host-local") continue;
    const { dataDir } = ipam;
    return join(typeof dataDir === "string" && dataDir !== "" ? dataDir : defaultDir, name);
  }
  return undefined;
}

/** The leases in a directory. */
export function readLeases(dir: string): Lease[] {
  let names: string[];
  try {
    names = readdirSync(dir);
  } catch {
    return [];
  }
  return names.flatMap((ip) => {
    // The plugin spells ":" as "_" where a file system cannot have it.
    if (isIP(ip.replaceAll("_", ":")) === 0) return [];
    const path = join(dir, ip);
    try {
      const [containerId = "", ifName = ""] = readFileSync(path, "utf8").split(/\r?\n/);
      return [{ path, ip, containerId: containerId.trim(), ifName: ifName.trim() || "eth0" }];
    } catch {
      return [];
    }
  });
}

/** Leases of ours in a network that no attachment stands for. */
export function leakedLeases(paths: NetworkPaths, network: NetworkConf, attachments: readonly Attachment[]): Lease[] {
  const dir = leaseDir(network);
  if (dir === undefined) return [];
  const valid = new Set(attachments.map(({ containerId }) => containerId));
  return readLeases(dir).filter(
    ({ containerId }) => ownerOf(paths, containerId) !== undefined && !valid.has(containerId),
  );
}

/** Removes the leases of a network of ours that is gone. */
export function removeLeases(paths: NetworkPaths, network: string): void {
  rmSync(join(paths.run, "leases", network), { recursive: true, force: true });
}
