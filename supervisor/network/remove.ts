/** Removing networks. */

import { rmSync } from "node:fs";
import { dirname } from "node:path";
import { failedPrecondition, notFound } from "../../proto/errdefs.ts";
import { syncDirectory } from "../store/file.ts";
import { isAlive } from "./alive.ts";
import { detachLocked } from "./attach.ts";
import { readAttachments } from "./attachments.ts";
import { findNetwork } from "./create.ts";
import { removeLeases } from "./leases.ts";
import { removeInterface, removeLeftovers } from "./leftovers.ts";
import { withLock } from "./lock.ts";
import type { NetworkPaths } from "./paths.ts";
import { removeRules } from "./rules.ts";

/** A container by namespace and id. */
export interface NetworkUser {
  readonly namespace: string;
  readonly id: string;
}

/**
 * Removes a network that berth made, with its bridge, rules and leases.
 * @param users containers, running or not, that would miss it, beside those that are attached
 * @throws ContainerdError NotFound; FailedPrecondition for one that is in use, with the containers, or is not berth's
 */
export async function removeNetwork(
  paths: NetworkPaths,
  name: string,
  users: readonly NetworkUser[] = [],
): Promise<void> {
  await withLock(paths.run, async () => {
    const network = findNetwork(paths, name);
    if (network === undefined)
      throw notFound(`network ${name} is not in ${paths.confDir}: berth network ls lists them`);
    if (network.berth === undefined) {
      throw failedPrecondition(`network ${name} was not made by berth: remove ${network.path} if nobody needs it`);
    }
    const attached = readAttachments(paths).filter(({ networks }) => networks.some(({ conf }) => conf.name === name));
    const [living, dead] = [attached.filter(isAlive), attached.filter((attachment) => !isAlive(attachment))];
    const all = new Map([...users, ...living].map(({ namespace, id }) => [`${namespace}/${id}`, { namespace, id }]));
    if (all.size > 0) throw failedPrecondition(inUse(name, [...all.values()]));
    for (const attachment of dead) await detachLocked(paths, attachment);
    // The file goes last: what fails before leaves a network that can be removed again.
    if (network.berth.bridge !== undefined) await removeInterface(network.berth.bridge);
    await removeRules(paths, network);
    await removeLeftovers({ network: name });
    removeLeases(paths, name);
    rmSync(network.path);
    syncDirectory(dirname(network.path));
  });
}

function inUse(name: string, users: readonly NetworkUser[]): string {
  const shown = users.slice(0, 10).map(({ namespace, id }) => (namespace === "default" ? id : `${id} (${namespace})`));
  const more = users.length > shown.length ? ` and ${users.length - shown.length} more` : "";
  const noun = users.length === 1 ? "container" : "containers";
  return `network ${name} is in use by ${noun} ${shown.join(", ")}${more}: remove ${users.length === 1 ? "it" : "them"} first`;
}
