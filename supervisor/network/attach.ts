/**
 * Attaching a container to its networks, and detaching it.
 *
 * Invariant: what plugins have made for a container is on record before they make it, and goes off the record when all
 * of it is released.
 */

import { failedPrecondition, messageOf } from "../../proto/errdefs.ts";
import { processName } from "./alive.ts";
import {
  type AttachedNetwork,
  type Attachment,
  cniContainerId,
  forgetAttachment,
  readAttachment,
  readAttachments,
  saveAttachment,
} from "./attachments.ts";
import type { NetworkConf } from "./cni/conf.ts";
import { add, del, hasCapability, type Plugins, type Target } from "./cni/network.ts";
import { hostInterfacesOf, nameserversOf } from "./cni/result.ts";
import { needNetworkLocked } from "./create.ts";
import { writeResolver } from "./files.ts";
import { removeLeftovers } from "./leftovers.ts";
import { withLock } from "./lock.ts";
import { spreadNames } from "./names.ts";
import { isPinned, pinNetns, unpinNetns } from "./netns.ts";
import { containerDir, type NetworkPaths, netnsPath } from "./paths.ts";
import { conflictText, portConflicts } from "./ports.ts";
import type { NetworkAttachment, NetworkRequest } from "./request.ts";
import { ensureRules, hasSharedRules, withoutRules } from "./rules.ts";

/** A container whose first process is there and waits. */
export interface AttachOptions {
  readonly namespace: string;
  readonly id: string;
  readonly pid: number;
  readonly request: NetworkRequest;
}

/**
 * Attaches a container to all its networks, or to none. What an earlier task of the container has left is released first.
 * @throws ContainerdError, CniError: one sentence for who starts the container
 */
export async function attach(paths: NetworkPaths, options: AttachOptions): Promise<Attachment> {
  const { namespace, id, request } = options;
  const { attachment, isDone } = await withLock(paths.run, async () => {
    const begun = await begin(paths, options);
    if (begun.isAlone) await finish(paths, begun.attachment, (undo) => undo());
    return { attachment: begun.attachment, isDone: begun.isAlone };
  });
  if (!isDone) await finish(paths, attachment, (undo) => withLock(paths.run, undo));
  const servers = attachment.networks.flatMap(({ result }) => nameserversOf(result));
  writeResolver(containerDir(paths, namespace, id), request, false, servers);
  await withLock(paths.run, () => spreadNames(paths, attachment, readAttachments(paths, namespace)));
  return attachment;
}

/**
 * Puts a new attachment on record.
 * @returns `isAlone`: no other change of the network may be made while the plugins of this one run
 */
async function begin(
  paths: NetworkPaths,
  { namespace, id, pid, request }: AttachOptions,
): Promise<{ attachment: Attachment; isAlone: boolean }> {
  const earlier = readAttachment(paths, namespace, id);
  if (earlier !== undefined) await detachLocked(paths, earlier);
  const networks = planNetworks(paths, request);
  const all = readAttachments(paths);
  const [conflict] = portConflicts(request.ports, all, { namespace, id });
  if (conflict !== undefined) throw failedPrecondition(conflictText(conflict));
  const process = processName(pid);
  if (process === undefined) throw failedPrecondition(`the first process of ${id}, ${pid}, has ended`);
  if (paths.sharedRules) for (const { file } of networks) await ensureRules(paths, file);
  const attachment: Attachment = {
    ...{ namespace, id, containerId: cniContainerId(paths, namespace, id) },
    ...process,
    netns: pinNetns(pid, netnsPath(paths, namespace, id)),
    created: new Date().toISOString(),
    request,
    networks: networks.map(({ file: _, ...network }) => network),
  };
  saveAttachment(paths, attachment);
  // The first container of a network makes its bridge, and plugins that change rules race with each other.
  const isAlone = attachment.networks.some(({ conf }) => {
    const others = all.some((other) => other.networks.some((known) => known.conf.name === conf.name && known.result));
    return !others || conf.plugins.some(({ type, ipMasq }) => !peaceful.has(type) || ipMasq === true);
  });
  return { attachment, isAlone };
}

/** Plugins that may run beside each other. */
const peaceful: ReadonlySet<string> = new Set(["bridge", "macvlan", "ipvlan"]);

/** @param alone runs what no other change may be made beside */
async function finish(
  paths: NetworkPaths,
  attachment: Attachment,
  alone: (undo: () => Promise<void>) => Promise<void>,
): Promise<void> {
  try {
    // The route that is made last comes first: that of the first network is to be the default.
    for (const network of attachment.networks.toReversed()) await addOne(paths, attachment, network);
  } catch (error) {
    await alone(() => detachLocked(paths, attachment)).catch(() => undefined);
    throw error;
  }
}

/** {@link detachLocked} for who has not got the lock. @param choose looks with the lock, and says what to release */
export async function detach(paths: NetworkPaths, choose: () => Attachment | undefined): Promise<void> {
  await withLock(paths.run, async () => {
    const attachment = choose();
    if (attachment !== undefined) await detachLocked(paths, attachment);
  });
}

/**
 * Releases everything of an attachment and takes it off the record. What cannot be released stays on record.
 * @throws CniError the first failure; everything else is released all the same
 */
export async function detachLocked(paths: NetworkPaths, attachment: Attachment): Promise<void> {
  const { namespace, id, networks, netns } = attachment;
  const isThere = isPinned(netns);
  const errors: unknown[] = [];
  for (const network of networks.toReversed()) {
    const target = { ...targetOf(attachment, network), netns: isThere ? netns : "" };
    await del(network.conf, target, pluginsOf(paths), network.result).catch((error: unknown) => errors.push(error));
    if (isThere) continue;
    const interfaces = hostInterfacesOf(network.result);
    await removeLeftovers({ network: network.conf.name, containerId: attachment.containerId, interfaces }).catch(
      (error: unknown) => errors.push(error),
    );
  }
  if (errors.length > 0) {
    saveAttachment(paths, { ...attachment, problem: messageOf(errors[0]) });
    throw errors[0];
  }
  forgetAttachment(paths, namespace, id);
  unpinNetns(netnsPath(paths, namespace, id));
  spreadNames(paths, attachment, readAttachments(paths, namespace));
}

/** How plugins are found. */
export function pluginsOf({ pluginDirs }: Pick<NetworkPaths, "pluginDirs">): Plugins {
  return { dirs: pluginDirs };
}

/** What identifies an attachment to plugins. */
export function targetOf({ containerId, netns }: Attachment, network: AttachedNetwork): Target {
  const { ifName, capabilityArgs, args } = network;
  return { containerId, netns, ifName, capabilityArgs, args };
}

async function addOne(paths: NetworkPaths, attachment: Attachment, network: AttachedNetwork): Promise<void> {
  await add(network.conf, targetOf(attachment, network), pluginsOf(paths), (result) => {
    network.result = result;
    saveAttachment(paths, attachment);
  });
}

type PlannedNetwork = AttachedNetwork & { readonly file: NetworkConf };

function planNetworks(paths: NetworkPaths, { networks, ports }: NetworkRequest): PlannedNetwork[] {
  const found = networks.map((wanted) => ({ wanted, conf: needNetworkLocked(paths, wanted.name) }));
  const publishing = found.find(({ conf }) => hasCapability(conf, "portMappings"));
  if (ports.length > 0 && publishing === undefined) {
    throw failedPrecondition(
      `ports cannot be published: no network of ${networks.map(({ name }) => name).join(", ") || "none"} has a plugin with the capability portMappings: attach the container to one that is not internal, such as ${paths.defaultNetwork}`,
    );
  }
  const portMappings = ports.map(({ hostIp = "", hostPort, containerPort, protocol }) => ({
    ...{ hostPort, containerPort, protocol, hostIP: hostIp },
  }));
  return found.map(({ wanted, conf: { path: _, ...file } }, n) => {
    const { capabilityArgs, args } = wishesOf(wanted);
    const mapped = publishing?.wanted === wanted && ports.length > 0 ? { portMappings } : {};
    const conf = paths.sharedRules && hasSharedRules(file) ? withoutRules(file, "portMappings" in mapped) : file;
    return { file, conf, ifName: `eth${n}`, capabilityArgs: { ...capabilityArgs, ...mapped }, args };
  });
}

/** Addresses are asked for in both ways there are: by capabilities, and by CNI_ARGS for networks without them. */
function wishesOf({
  ip,
  mac,
  aliases = [],
  name,
}: NetworkAttachment): Pick<AttachedNetwork, "capabilityArgs" | "args"> {
  const args = [
    "IgnoreUnknown=1",
    ...(ip === undefined ? [] : [`IP=${ip}`]),
    ...(mac === undefined ? [] : [`MAC=${mac}`]),
  ];
  return {
    capabilityArgs: {
      ...(ip === undefined ? {} : { ips: [ip] }),
      ...(mac === undefined ? {} : { mac }),
      ...(aliases.length === 0 ? {} : { aliases: { [name]: aliases } }),
    },
    args: args.join(";"),
  };
}
