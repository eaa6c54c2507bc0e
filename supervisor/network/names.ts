/** Who finds whom by which name: the hosts of every container of a namespace that shares a network with another. */

import { existsSync } from "node:fs";
import type { Attachment } from "./attachments.ts";
import { addressesOf } from "./cni/result.ts";
import { extraLines, writeHosts } from "./files.ts";
import type { HostLine } from "./hosts.ts";
import { containerDir, type NetworkPaths } from "./paths.ts";

/** By this name a container reaches the host that it is on. */
const hostName = "host.berth.internal";

/**
 * The lines of a container's hosts: itself, the host, what its request has more, and all others of its networks. Where
 * containers of several applications share a network and a name, those of its own application come first.
 * @param all attachments of its namespace
 */
export function hostLines(self: Attachment, all: readonly Attachment[]): HostLine[] {
  const { request } = self;
  const own: HostLine[] = [];
  const others: { line: HostLine; isOfApp: boolean; id: string }[] = [];
  for (const network of self.networks) {
    const name = network.conf.name;
    const names = [request.hostname, self.id, ...aliasesOf(self, name)].filter((word) => word !== "");
    own.push(...addressesOf(network.result).map(({ ip }) => ({ ip, names })));
    for (const other of all) {
      if (other.id === self.id) continue;
      const shared = other.networks.find(({ conf }) => conf.name === name);
      const known = [other.id, ...aliasesOf(other, name)];
      for (const { ip } of addressesOf(shared?.result)) {
        others.push({ line: { ip, names: known }, isOfApp: other.request.app === request.app, id: other.id });
      }
    }
  }
  others.sort((a, b) => Number(b.isOfApp) - Number(a.isOfApp) || (a.id < b.id ? -1 : Number(a.id > b.id)));
  const gateways = gatewaysOf(self);
  return [
    ...own,
    ...gateways.map((ip) => ({ ip, names: [hostName] })),
    ...extraLines(request, gateways),
    ...others.map(({ line }) => line),
  ];
}

/** Writes the hosts of a container and of all that share a network with it. @param all attachments of its namespace */
export function spreadNames(paths: NetworkPaths, changed: Attachment, all: readonly Attachment[]): void {
  const networks = new Set(changed.networks.map(({ conf }) => conf.name));
  for (const attachment of all) {
    if (!attachment.networks.some(({ conf }) => networks.has(conf.name))) continue;
    const dir = containerDir(paths, attachment.namespace, attachment.id);
    // A container that some other client made may have no files of ours.
    if (existsSync(dir)) writeHosts(dir, hostLines(attachment, all));
  }
}

function aliasesOf({ request }: Attachment, network: string): readonly string[] {
  return request.networks.find(({ name }) => name === network)?.aliases ?? [];
}

/** Where the container reaches the host: the gateways of its first network that has any. */
function gatewaysOf({ networks }: Attachment): string[] {
  for (const { conf, result } of networks) {
    if (conf.berth?.internal) continue;
    const gateways = addressesOf(result).flatMap(({ gateway }) => gateway ?? []);
    if (gateways.length > 0) return gateways;
  }
  return [];
}
