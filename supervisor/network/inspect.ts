/** What is to be said of networks: for lists, for a person who looks, for the doctor and the status page. */

import { messageOf } from "../../proto/errdefs.ts";
import { isAlive } from "./alive.ts";
import { pluginsOf, targetOf } from "./attach.ts";
import { type Attachment, readAttachments } from "./attachments.ts";
import { cidrText } from "./cidr.ts";
import { type BadFile, type NetworkFile, readNetworks } from "./cni/directory.ts";
import { check, status } from "./cni/network.ts";
import { addressesOf, macOf } from "./cni/result.ts";
import { type Failures, readFailures } from "./failures.ts";
import { leakedLeases } from "./leases.ts";
import type { NetworkPaths } from "./paths.ts";
import { missingRules } from "./rules.ts";
import { hasInterface, subnetsOf } from "./subnet.ts";

/** A container in a network. */
export interface NetworkMember {
  readonly namespace: string;
  readonly id: string;
  readonly ifName: string;
  /** With the bits of the subnet. */
  readonly addresses: readonly string[];
  readonly mac: string;
  readonly aliases: readonly string[];
}

/** A network for people. */
export interface NetworkInfo {
  readonly name: string;
  readonly driver: string;
  readonly path: string;
  readonly isOurs: boolean;
  readonly internal: boolean;
  readonly subnets: readonly string[];
  readonly bridge: string | undefined;
  readonly created: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly cniVersion: string;
  readonly plugins: readonly string[];
  readonly members: readonly NetworkMember[];
}

/** All networks, and the files that are none. */
export function listNetworks(paths: NetworkPaths): { networks: NetworkInfo[]; bad: readonly BadFile[] } {
  const { networks, bad } = readNetworks(paths.confDir);
  const attachments = readAttachments(paths);
  return { networks: networks.map((network) => infoOf(network, attachments)), bad };
}

function infoOf(network: NetworkFile, attachments: readonly Attachment[]): NetworkInfo {
  const { name, path, berth, cniVersion, plugins } = network;
  return {
    name,
    driver: berth?.driver || (plugins[0]?.type ?? ""),
    path,
    isOurs: berth !== undefined,
    internal: berth?.internal === true,
    subnets: subnetsOf(network).map(cidrText),
    bridge: berth?.bridge,
    created: berth?.created,
    labels: berth?.labels ?? {},
    cniVersion,
    plugins: plugins.map(({ type }) => type),
    members: attachments.flatMap((attachment) => membersOf(attachment, name)),
  };
}

function membersOf({ namespace, id, networks, request }: Attachment, network: string): NetworkMember[] {
  return networks
    .filter(({ conf }) => conf.name === network)
    .map(({ ifName, result }) => ({
      ...{ namespace, id, ifName },
      addresses: addressesOf(result).map(({ ip, bits }) => `${ip}/${bits}`),
      mac: macOf(result, ifName) ?? "",
      aliases: request.networks.find(({ name }) => name === network)?.aliases ?? [],
    }));
}

/** Networks, attachments and failures at one glance. */
export interface NetworkStatus {
  readonly networks: number;
  readonly attachments: number;
  readonly failures: Failures;
  /** Why a network could not take a container, in sentences. */
  readonly problems: readonly string[];
}

/** CNI's STATUS of every network: asks plugins, so it costs a process for each. */
export async function networkStatus(paths: NetworkPaths): Promise<NetworkStatus> {
  const { networks, bad } = readNetworks(paths.confDir);
  const problems = bad.map(({ path, problem }) => `${path} is not used: ${problem}`);
  for (const network of networks) problems.push(...(await status(network, pluginsOf(paths))));
  const attachments = readAttachments(paths);
  return { networks: networks.length, attachments: attachments.length, failures: readFailures(paths), problems };
}

/** Something of the network that is not as it should be. */
export interface NetworkProblem {
  /** `network NAME` or `NAMESPACE/ID`. */
  readonly subject: string;
  readonly problem: string;
}

/**
 * Compares records, leases, interfaces and rules with each other, without changing anything.
 * @param running containers whose task runs and that have networks; undefined when nobody can say
 * @param deep also ask the plugins of every attachment (CHECK): some ten processes for each
 */
export async function checkNetworks(
  paths: NetworkPaths,
  { running, deep = false }: { running?: readonly { namespace: string; id: string }[]; deep?: boolean } = {},
): Promise<NetworkProblem[]> {
  const attachments = readAttachments(paths);
  const found: NetworkProblem[] = [];
  for (const attachment of attachments) found.push(...(await attachmentProblems(paths, attachment, deep)));
  const known = new Set(attachments.map(({ namespace, id }) => `${namespace}/${id}`));
  for (const { namespace, id } of running ?? []) {
    if (known.has(`${namespace}/${id}`)) continue;
    found.push({ subject: `${namespace}/${id}`, problem: "it runs and has no network on record: restart it" });
  }
  for (const network of readNetworks(paths.confDir).networks) {
    const subject = `network ${network.name}`;
    for (const { ip, containerId } of leakedLeases(paths, network, attachments)) {
      const problem = `address ${ip} is held by ${containerId}, which is not attached: the daemon releases it at its next start`;
      found.push({ subject, problem });
    }
    const isUsed = attachments.some(
      (attachment) => isAlive(attachment) && attachment.networks.some(({ conf }) => conf.name === network.name),
    );
    if (!isUsed) continue;
    if (network.berth?.bridge !== undefined && !hasInterface(network.berth.bridge)) {
      found.push({ subject, problem: `its bridge ${network.berth.bridge} is gone: restart its containers` });
    }
    if (!paths.sharedRules) continue;
    for (const problem of await missingRules(network)) {
      found.push({ subject, problem: `${problem}: restart berthd, which makes them anew` });
    }
  }
  return found;
}

async function attachmentProblems(
  paths: NetworkPaths,
  attachment: Attachment,
  deep: boolean,
): Promise<NetworkProblem[]> {
  const subject = `${attachment.namespace}/${attachment.id}`;
  if (!isAlive(attachment)) {
    const why = attachment.problem === undefined ? "" : ` (${attachment.problem})`;
    const problem = `it has ended and its network is not released${why}: the daemon releases it at its next start`;
    return [{ subject, problem }];
  }
  const problems: NetworkProblem[] = [];
  for (const network of deep ? attachment.networks : []) {
    try {
      await check(network.conf, targetOf(attachment, network), pluginsOf(paths), network.result);
    } catch (error) {
      problems.push({ subject, problem: `${messageOf(error)}: restart the container` });
    }
  }
  return problems;
}
