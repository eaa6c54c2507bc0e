/** Making networks: the default one, those of `berth network create`, those of applications. */

import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { alreadyExists, failedPrecondition, invalidArgument, notFound } from "../../proto/errdefs.ts";
import { writeDurably } from "../store/file.ts";
import { type Cidr, parseCidr } from "./cidr.ts";
import { type NetworkFile, readNetworks } from "./cni/directory.ts";
import { bridgeName, confFile, conflistOf, drivers, isAddress, type NetworkPlan } from "./conflist.ts";
import { withLock } from "./lock.ts";
import type { NetworkPaths } from "./paths.ts";
import { isNetworkName } from "./request.ts";
import {
  chooseSubnet,
  chooseSubnet6,
  hostRanges,
  networkRanges,
  rangesOf,
  type TakenRange,
  takenBy,
  takenText,
} from "./subnet.ts";

/** What a new network is to be. */
export interface NewNetwork {
  readonly name: string;
  /** bridge unless told. */
  readonly driver?: string;
  /** At most one of each family; one of IPv4 is chosen unless told. */
  readonly subnets?: readonly string[];
  readonly gateways?: readonly string[];
  /** Containers reach each other, and nothing else. */
  readonly internal?: boolean;
  /** Addresses of IPv6, too: of a subnet that is chosen unless told. */
  readonly ipv6?: boolean;
  /** The interface of the host for macvlan and ipvlan; that of the default route unless told. */
  readonly parent?: string;
  readonly mtu?: number;
  readonly labels?: Readonly<Record<string, string>>;
}

/** Names that mean something else where a network is named. */
const reserved = new Set(["host", "none", "default", "bridge"]);

/** A network by its name; undefined when there is none. */
export function findNetwork(paths: NetworkPaths, name: string): NetworkFile | undefined {
  return readNetworks(paths.confDir).networks.find((network) => network.name === name);
}

/**
 * Makes a network: its file. Interfaces come with its first container.
 * @throws ContainerdError AlreadyExists; InvalidArgument; FailedPrecondition when a subnet is taken
 */
export async function createNetwork(paths: NetworkPaths, network: NewNetwork): Promise<NetworkFile> {
  if (reserved.has(network.name)) throw invalidArgument(`${network.name} cannot be the name of a network`);
  return withLock(paths.run, () => {
    if (findNetwork(paths, network.name) !== undefined) {
      throw alreadyExists(`network ${network.name} is there already: choose another name, or berth network rm it`);
    }
    return writeNetwork(paths, network);
  });
}

/**
 * Makes a network unless one of its name is there, whatever that is like.
 * @throws ContainerdError as {@link createNetwork}
 */
export async function ensureNetwork(paths: NetworkPaths, network: NewNetwork): Promise<NetworkFile> {
  return (
    findNetwork(paths, network.name) ??
    withLock(paths.run, () => findNetwork(paths, network.name) ?? writeNetwork(paths, network))
  );
}

/**
 * The network of a name, to attach a container to; the default one is made when it is not there.
 * @throws ContainerdError NotFound for any other that is missing
 */
export async function needNetwork(paths: NetworkPaths, name: string): Promise<NetworkFile> {
  if (name === paths.defaultNetwork) return ensureNetwork(paths, { name });
  return findNetwork(paths, name) ?? missing(paths, name);
}

/** Like {@link needNetwork}, for who has the lock. @throws ContainerdError */
export function needNetworkLocked(paths: NetworkPaths, name: string): NetworkFile {
  const network = findNetwork(paths, name);
  if (network !== undefined) return network;
  return name === paths.defaultNetwork ? writeNetwork(paths, { name }) : missing(paths, name);
}

function missing(paths: NetworkPaths, name: string): never {
  const broken = readNetworks(paths.confDir).bad.map(({ path, problem }) => `${path}: ${problem}`);
  const also = broken.length === 0 ? "" : ` (not used: ${broken.join("; ")})`;
  throw notFound(`network ${name} is not in ${paths.confDir}: berth network create ${name}${also}`);
}

function writeNetwork(paths: NetworkPaths, network: NewNetwork): NetworkFile {
  const path = confFile(paths.confDir, network.name);
  if (existsSync(path)) throw failedPrecondition(`${path} is there and is no network ${network.name}: move it away`);
  const plan = planOf(paths, network);
  mkdirSync(paths.confDir, { recursive: true, mode: 0o755 });
  writeDurably(path, `${JSON.stringify(conflistOf(plan), undefined, 2)}\n`, 0o644);
  const made = findNetwork(paths, network.name);
  if (made === undefined) throw failedPrecondition(`${path} was written and is not read`);
  return made;
}

function planOf(paths: NetworkPaths, network: NewNetwork): NetworkPlan {
  const { name, internal = false, parent, mtu, labels, gateways } = network;
  if (!isNetworkName(name)) {
    throw invalidArgument(
      `${JSON.stringify(name)} is no name of a network: letters, digits, "_", "." and "-", 63 at most`,
    );
  }
  const driver = drivers.find((known) => known === (network.driver ?? "bridge"));
  if (driver === undefined) throw invalidArgument(`driver ${network.driver}: ${drivers.join(", ")} are known`);
  if (driver === "bridge" && parent !== undefined) throw invalidArgument("a bridge has no parent interface");
  const wrong = gateways?.find((gateway) => !isAddress(gateway));
  if (wrong !== undefined) throw invalidArgument(`gateway ${JSON.stringify(wrong)} is no IP address`);
  if (mtu !== undefined && !(Number.isInteger(mtu) && mtu >= 68 && mtu <= 65_535)) {
    throw invalidArgument(`mtu ${mtu} is not between 68 and 65535`);
  }
  return {
    name,
    driver,
    internal,
    subnets: subnetsOf(paths, network, driver === "bridge"),
    bridge: bridgeName(name),
    leases: join(paths.run, "leases"),
    ...(gateways === undefined ? {} : { gateways }),
    ...(parent === undefined ? {} : { parent }),
    ...(mtu === undefined ? {} : { mtu }),
    ...(labels === undefined ? {} : { labels }),
  };
}

function subnetsOf(paths: NetworkPaths, network: NewNetwork, isBridge: boolean): Cidr[] {
  const subnets = (network.subnets ?? []).map(parseCidr);
  for (const family of [4, 6]) {
    if (subnets.filter((subnet) => subnet.family === family).length > 1) {
      throw invalidArgument(`more than one subnet of IPv${family}: give one of each family at most`);
    }
  }
  const others = networkRanges(readNetworks(paths.confDir).networks);
  // macvlan and ipvlan are part of a network that the host is on already.
  const taken = isBridge ? [...others, ...hostRanges(bridgeName(network.name))] : others;
  for (const subnet of subnets) {
    const by = takenBy(subnet, taken);
    if (by !== undefined) throw failedPrecondition(takenText(subnet, by));
  }
  if (!isBridge) return subnets;
  const chosen = subnets.some(({ family }) => family === 4)
    ? []
    : [ownSubnet(network.name, others) ?? chooseSubnet(paths.pools, taken)];
  const wants6 = network.ipv6 === true && !subnets.some(({ family }) => family === 6);
  return [...chosen, ...subnets, ...(wants6 ? [chooseSubnet6()] : [])];
}

/** What the network's bridge has, when it is there from an earlier network of that name: it could have nothing else. */
function ownSubnet(name: string, others: readonly TakenRange[]): Cidr | undefined {
  const own = rangesOf(bridgeName(name)).find(({ family }) => family === 4);
  return own === undefined || takenBy(own, others) !== undefined ? undefined : own;
}
