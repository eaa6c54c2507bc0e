/** Results of ADD, in whichever version's form a plugin gives them. */

import { isIP } from "../address.ts";
import { isObject } from "./conf.ts";

/** A result as a plugin gave it: handed on as it is. */
export type Result = Readonly<Record<string, unknown>>;

/** An address that a container got. */
export interface Address {
  readonly ip: string;
  /** Bits of the subnet. */
  readonly bits: number;
  readonly gateway?: string;
}

/** The addresses of a result, in its order; what is none is left out. */
export function addressesOf(result: Result | undefined): Address[] {
  if (result === undefined) return [];
  const ips = result["ips"];
  // Before 0.3.0 there was one address of each family.
  const entries = Array.isArray(ips) ? ips : [result["ip4"], result["ip6"]];
  return entries.flatMap((entry: unknown) => {
    if (!isObject(entry)) return [];
    const { address, ip: old, gateway } = entry;
    const [ip = "", bits] = String(address ?? old ?? "").split("/");
    if (isIP(ip) === 0) return [];
    const via = typeof gateway === "string" && isIP(gateway) !== 0 ? { gateway } : {};
    return [{ ip, bits: Number(bits ?? (isIP(ip) === 4 ? 32 : 128)), ...via }];
  });
}

/** Hardware address of the container's interface; undefined when the result does not say. */
export function macOf(result: Result | undefined, ifName: string): string | undefined {
  const entry = interfacesOf(result).find(({ name, sandbox }) => name === ifName && Boolean(sandbox));
  return typeof entry?.["mac"] === "string" ? entry["mac"] : undefined;
}

/** Names of the interfaces that were made on the host for the container: its ends of a veth, not the bridge. */
export function hostInterfacesOf(result: Result | undefined): string[] {
  return interfacesOf(result)
    .filter(({ sandbox }) => !sandbox)
    .map(({ name }) => String(name))
    .filter((name) => /^veth[a-zA-Z0-9_.-]{1,11}$/.test(name));
}

/** Resolvers of the network itself. */
export function nameserversOf(result: Result | undefined): string[] {
  const dns = result?.["dns"];
  const servers = isObject(dns) ? dns["nameservers"] : undefined;
  return Array.isArray(servers) ? servers.filter((server): server is string => isIP(String(server)) !== 0) : [];
}

function interfacesOf(result: Result | undefined): Record<string, unknown>[] {
  const list = result?.["interfaces"];
  return Array.isArray(list) ? list.filter(isObject) : [];
}
