/** The conflists that berth itself makes: of Debian's plugins, in CNI 1.0.0. */

import { join } from "node:path";
import { invalidArgument } from "../../proto/errdefs.ts";
import { isIP } from "./address.ts";
import { addressAt, type Cidr, cidrText, contains, sizeOf } from "./cidr.ts";
import type { BerthNotes } from "./cni/conf.ts";

/** Kinds of networks. */
export const drivers = ["bridge", "macvlan", "ipvlan"] as const;

/** What a network is made with, all of it decided. */
export interface NetworkPlan {
  readonly name: string;
  readonly driver: (typeof drivers)[number];
  /** One of IPv4, or IPv6, or one of each. Empty for addresses by DHCP, of macvlan and ipvlan alone. */
  readonly subnets: readonly Cidr[];
  /** Of the subnets, in any order; the first address of each unless told. */
  readonly gateways?: readonly string[];
  /** Containers reach each other, and nothing else. */
  readonly internal?: boolean;
  /** The interface of the host that macvlan and ipvlan are on. */
  readonly parent?: string;
  readonly mtu?: number;
  readonly labels?: Readonly<Record<string, string>>;
  /** The name of the bridge. */
  readonly bridge: string;
  /** Where host-local keeps its leases. */
  readonly leases: string;
}

/** The file name of a network of ours: after those of others, which come first where the first is chosen. */
export function confFile(confDir: string, name: string): string {
  return join(confDir, `90-berth-${name}.conflist`);
}

/** All bridges of ours, as iptables has patterns of interfaces. */
export const bridgePattern = "berth+";

/** The name of a network's bridge: `berth0` for the default, else one made from the name that fits 15 characters. */
export function bridgeName(name: string): string {
  if (name === "berth") return "berth0";
  return `berth${new Bun.CryptoHasher("sha256").update(name).digest("hex").slice(0, 10)}`;
}

/**
 * The content of a network's file.
 * @throws ContainerdError InvalidArgument when the parts do not fit each other
 */
export function conflistOf(plan: NetworkPlan, created: Date = new Date()): Record<string, unknown> {
  const { name, driver, internal = false, labels = {}, bridge } = plan;
  const notes: BerthNotes = {
    driver,
    ...(driver === "bridge" ? { bridge } : {}),
    ...(internal ? { internal } : {}),
    ...{ created: created.toISOString(), labels },
  };
  const main = driver === "bridge" ? bridgePlugin(plan) : parentPlugin(plan);
  // Without the firewall's rules, a host whose FORWARD drops (docker's does) lets nothing of a bridge through.
  const firewall = { type: "firewall", ingressPolicy: "same-bridge" };
  const portmap = { type: "portmap", capabilities: { portMappings: true } };
  const rest = driver !== "bridge" ? [] : internal ? [firewall] : [portmap, firewall];
  return { cniVersion: "1.0.0", name, berth: notes, plugins: [main, ...rest] };
}

function bridgePlugin(plan: NetworkPlan): Record<string, unknown> {
  const { bridge, internal = false, mtu } = plan;
  return {
    type: "bridge",
    bridge,
    isGateway: !internal,
    ipMasq: !internal,
    hairpinMode: true,
    ...(mtu === undefined ? {} : { mtu }),
    capabilities: { mac: true, ips: true },
    ipam: ipamOf(plan),
  };
}

function parentPlugin(plan: NetworkPlan): Record<string, unknown> {
  const { driver, parent, mtu } = plan;
  return {
    type: driver,
    ...(parent === undefined ? {} : { master: parent }),
    mode: driver === "macvlan" ? "bridge" : "l2",
    ...(mtu === undefined ? {} : { mtu }),
    capabilities: driver === "macvlan" ? { mac: true, ips: true } : { ips: true },
    ipam: plan.subnets.length === 0 ? { type: "dhcp" } : ipamOf(plan),
  };
}

function ipamOf({ subnets, gateways = [], internal = false, leases, driver }: NetworkPlan): Record<string, unknown> {
  if (subnets.length === 0) throw invalidArgument("a bridge needs a subnet");
  const stray = gateways.find((gateway) => !subnets.some((subnet) => contains(subnet, gateway)));
  if (stray !== undefined) throw invalidArgument(`gateway ${stray} is in no subnet of the network`);
  const ranges = subnets.map((subnet) => {
    const least = subnet.family === 4 ? 8n : 16n;
    if (sizeOf(subnet) < least)
      throw invalidArgument(`subnet ${cidrText(subnet)} is too small: it needs ${least} addresses`);
    const gateway = gateways.find((ip) => contains(subnet, ip)) ?? addressAt(subnet, 1);
    // Whoever has the parent interface's network has the gateway, too: of an internal network there is none.
    return [{ subnet: cidrText(subnet), ...(internal && driver !== "bridge" ? {} : { gateway }) }];
  });
  const families = new Set(subnets.map(({ family }) => family));
  const routes = [...families].map((family) => ({ dst: family === 4 ? "0.0.0.0/0" : "::/0" }));
  return { type: "host-local", dataDir: leases, ranges, ...(internal ? {} : { routes }) };
}

/** True for an address. */
export function isAddress(ip: string): boolean {
  return isIP(ip) !== 0;
}
