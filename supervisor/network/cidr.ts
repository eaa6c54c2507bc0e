/** Ranges of addresses. */

import { invalidArgument } from "../../proto/errdefs.ts";
import { isIP } from "./address.ts";

/** A range: the first address as a number, and the bits that are its own. */
export interface Cidr {
  readonly family: 4 | 6;
  readonly first: bigint;
  readonly bits: number;
}

/** Reads `10.1.0.0/24`; an address inside stands for its range. @throws ContainerdError InvalidArgument */
export function parseCidr(text: string): Cidr {
  const [, ip = "", bits = ""] = /^([0-9a-fA-F.:]+)\/(\d{1,3})$/.exec(text) ?? [];
  const family = isIP(ip);
  if ((family !== 4 && family !== 6) || Number(bits) > width(family)) {
    throw invalidArgument(`${JSON.stringify(text.slice(0, 80))} is no subnet such as 10.1.0.0/24`);
  }
  return rangeOf(family, numberOf(ip), Number(bits));
}

/** The range of so many bits that an address is in. */
export function rangeOf(family: 4 | 6, address: bigint, bits: number): Cidr {
  const free = BigInt(width(family) - bits);
  return { family, first: (address >> free) << free, bits };
}

/** `10.1.0.0/24`. */
export function cidrText({ family, first, bits }: Cidr): string {
  return `${addressText(family, first)}/${bits}`;
}

/** True when two ranges have an address in common. */
export function overlap(a: Cidr, b: Cidr): boolean {
  if (a.family !== b.family) return false;
  return (
    rangeOf(a.family, b.first, Math.min(a.bits, b.bits)).first ===
    rangeOf(a.family, a.first, Math.min(a.bits, b.bits)).first
  );
}

/** True for an address of the range. */
export function contains(range: Cidr, ip: string): boolean {
  const family = isIP(ip);
  if (family !== range.family) return false;
  return rangeOf(range.family, numberOf(ip), range.bits).first === range.first;
}

/** The nth address. */
export function addressAt({ family, first }: Cidr, n: number): string {
  return addressText(family, first + BigInt(n));
}

/** How many addresses the range has. */
export function sizeOf({ family, bits }: Cidr): bigint {
  return 1n << BigInt(width(family) - bits);
}

/** An address as a number. It must be one. */
export function numberOf(ip: string): bigint {
  if (isIP(ip) === 4) return ip.split(".").reduce((sum, byte) => (sum << 8n) | BigInt(Number(byte)), 0n);
  // What an IPv6 address ends with may be written as one of IPv4.
  const tail = /(\d+\.\d+\.\d+\.\d+)$/.exec(ip)?.[1];
  const text = tail === undefined ? ip : ip.slice(0, -tail.length) + groupsOf(numberOf(tail), 2).join(":");
  const [head = "", rest] = text.split("::");
  const left = head === "" ? [] : head.split(":");
  const right = rest === undefined || rest === "" ? [] : rest.split(":");
  const zeros = rest === undefined ? [] : Array.from({ length: 8 - left.length - right.length }, () => "0");
  return [...left, ...zeros, ...right].reduce((sum, group) => (sum << 16n) | BigInt(Number.parseInt(group, 16)), 0n);
}

function addressText(family: 4 | 6, address: bigint): string {
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => (address >> shift) & 255n).join(".");
  return new URL(`http://[${groupsOf(address, 8).join(":")}]`).hostname.slice(1, -1);
}

function groupsOf(address: bigint, count: number): string[] {
  return Array.from({ length: count }, (_, n) => ((address >> BigInt(16 * (count - 1 - n))) & 0xffffn).toString(16));
}

function width(family: 4 | 6): number {
  return family === 4 ? 32 : 128;
}
