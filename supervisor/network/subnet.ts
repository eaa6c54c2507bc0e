/** Subnets that nobody else has: neither an interface or a route of the host nor another network. */

import { readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { failedPrecondition } from "../../proto/errdefs.ts";
import { type Cidr, cidrText, overlap, parseCidr, rangeOf, sizeOf } from "./cidr.ts";
import { isObject, type NetworkConf } from "./cni/conf.ts";

/** Bits of a subnet that is chosen. */
const CHOSEN_BITS = 24;

/** A range that somebody has, and who. */
export interface TakenRange {
  readonly range: Cidr;
  readonly by: string;
}

/**
 * Ranges of the host as it is now. The default route takes nothing.
 * @param except an interface that does not count
 */
export function hostRanges(except = ""): TakenRange[] {
  const interfaces = Object.entries(networkInterfaces()).flatMap(([name, addresses = []]) =>
    addresses.flatMap(({ cidr }) => (cidr ? [{ range: parseCidr(cidr), by: `interface ${name}` }] : [])),
  );
  const own = [`interface ${except}`, `a route by ${except}`];
  return [...interfaces, ...hostRoutes()].filter(({ by }) => !own.includes(by));
}

/** The ranges that are routed to an interface. One that is down, as a bridge without containers, is not among the addresses. */
export function rangesOf(name: string): Cidr[] {
  return hostRoutes().flatMap(({ range, by }) => (by === `a route by ${name}` ? [range] : []));
}

/** True when the host has an interface of that name. */
export function hasInterface(name: string): boolean {
  return readText("/proc/net/dev")
    .split("\n")
    .some((line) => line.trim().startsWith(`${name}:`));
}

function hostRoutes(): TakenRange[] {
  return [...parseRoutes(readText("/proc/net/route")), ...parseRoutes6(readText("/proc/net/ipv6_route"))];
}

/** The ranges of the routes in the text of /proc/net/route. */
export function parseRoutes(text: string): TakenRange[] {
  return text
    .split("\n")
    .slice(1)
    .flatMap((line) => {
      const [name, destination = "", , , , , , mask = ""] = line.split(/\s+/);
      if (name === undefined || destination.length !== 8 || mask.length !== 8) return [];
      const bits = [...littleEndian(mask).toString(2)].filter((bit) => bit === "1").length;
      return bits === 0 ? [] : [{ range: rangeOf(4, littleEndian(destination), bits), by: `a route by ${name}` }];
    });
}

/** The ranges of the routes in the text of /proc/net/ipv6_route; those of addresses and multicast are left out. */
export function parseRoutes6(text: string): TakenRange[] {
  return text.split("\n").flatMap((line) => {
    const [destination = "", length = "", ...rest] = line.split(/\s+/);
    const name = rest.at(-1) || rest.at(-2);
    const bits = Number.parseInt(length, 16);
    if (destination.length !== 32 || !(bits > 0) || bits === 128 || name === "lo") return [];
    const range = rangeOf(6, BigInt(`0x${destination}`), bits);
    // Link-local and multicast are on every interface.
    return /^(fe8|ff)/.test(destination) ? [] : [{ range, by: `a route by ${name}` }];
  });
}

/** The subnets of a network's addresses. */
export function subnetsOf({ plugins }: Pick<NetworkConf, "plugins">): Cidr[] {
  return plugins.flatMap((plugin) => {
    const ipam = plugin["ipam"];
    if (!isObject(ipam)) return [];
    const ranges = Array.isArray(ipam["ranges"]) ? ipam["ranges"].flat() : [];
    return [ipam, ...ranges].flatMap((entry: unknown) => {
      const subnet = isObject(entry) ? entry["subnet"] : undefined;
      try {
        return typeof subnet === "string" ? [parseCidr(subnet)] : [];
      } catch {
        return [];
      }
    });
  });
}

/** The ranges of other networks. */
export function networkRanges(networks: readonly NetworkConf[]): TakenRange[] {
  return networks.flatMap((conf) => subnetsOf(conf).map((range) => ({ range, by: `network ${conf.name}` })));
}

/** Who has a part of the range; undefined when nobody has. */
export function takenBy(range: Cidr, taken: readonly TakenRange[]): string | undefined {
  return taken.find((other) => overlap(other.range, range))?.by;
}

/**
 * A subnet out of the pools that nobody has.
 * @throws ContainerdError FailedPrecondition when there is none
 */
export function chooseSubnet(pools: readonly string[], taken: readonly TakenRange[]): Cidr {
  for (const text of pools) {
    const pool = parseCidr(text);
    if (pool.family !== 4) continue;
    const bits = Math.max(CHOSEN_BITS, pool.bits);
    const step = 1n << BigInt(32 - bits);
    for (let at = 0n; at < sizeOf(pool); at += step) {
      const range = { family: 4, first: pool.first + at, bits } as const;
      if (takenBy(range, taken) === undefined) return range;
    }
  }
  throw failedPrecondition(
    `every subnet of ${pools.join(", ")} is taken: give one with --subnet, or other pools in [network] of the configuration`,
  );
}

/** A subnet of unique local addresses (RFC 4193): whose random part makes it nobody else's. */
export function chooseSubnet6(): Cidr {
  const random = [...crypto.getRandomValues(new Uint8Array(5))].reduce(
    (sum, byte) => (sum << 8n) | BigInt(byte),
    0xfdn,
  );
  return { family: 6, first: random << 80n, bits: 64 };
}

/** The sentence for a subnet that is taken. */
export function takenText(range: Cidr, by: string): string {
  return `subnet ${cidrText(range)} overlaps that of ${by}: choose another`;
}

function littleEndian(hex: string): bigint {
  return BigInt(`0x${(hex.match(/../g) ?? []).reverse().join("")}`);
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
