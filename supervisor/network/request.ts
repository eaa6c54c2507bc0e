/** What a container asks of the network: written by whoever makes the container, read by the hook. All of it is hostile. */

import { invalidArgument } from "../../proto/errdefs.ts";
import { isIP } from "./address.ts";

/** The annotation of the OCI spec, and the label of the container, that hold a {@link NetworkRequest} as JSON. */
export const networkKey = "berth/network";

/** Longest value of a label that containerd takes: key and value together are at most 4096 bytes. */
const MAX_LABEL = 4096 - networkKey.length;
const MAX_NETWORKS = 16;
const MAX_ALIASES = 64;
const MAX_PORTS = 4096;
const MAX_HOSTS = 256;
const MAX_DNS = 16;

/** One network to attach to; the first is `eth0` and has the default route. */
export interface NetworkAttachment {
  /** The name of a conflist. */
  readonly name: string;
  /** More names by which others of the network find the container: of services, say. */
  readonly aliases?: readonly string[];
  /** The address to have, of a subnet of the network; chosen unless told. */
  readonly ip?: string;
  /** The hardware address to have; chosen by the kernel unless told. */
  readonly mac?: string;
}

/** One published port. */
export interface PublishedPort {
  /** The address of the host on which it is published; every one unless told. */
  readonly hostIp?: string;
  /** 0, until {@link file://./prepare.ts} has chosen one that is free. */
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: "tcp" | "udp" | "sctp";
}

/** What resolv.conf says; what is not given is the host's. */
export interface DnsRequest {
  readonly servers?: readonly string[];
  readonly search?: readonly string[];
  readonly options?: readonly string[];
}

/** A line of hosts. */
export interface ExtraHost {
  readonly name: string;
  /** An address, or `host-gateway`: where the container reaches the host. */
  readonly ip: string;
}

/** What a container asks of the network. */
export interface NetworkRequest {
  readonly networks: readonly NetworkAttachment[];
  readonly ports: readonly PublishedPort[];
  readonly hostname: string;
  readonly dns?: DnsRequest;
  readonly extraHosts?: readonly ExtraHost[];
  /** The application that the container is of: its own names win over those of others. */
  readonly app?: string;
}

/** True for what may be the name of a network: it becomes part of paths. */
export function isNetworkName(name: unknown): name is string {
  return typeof name === "string" && /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/.test(name);
}

/** True for what may stand in a line of hosts. */
export function isHostName(name: unknown): name is string {
  return typeof name === "string" && name.length <= 253 && /^[a-zA-Z0-9_]([a-zA-Z0-9_.-]*[a-zA-Z0-9_])?$/.test(name);
}

/** True for a hardware address as the kernel writes it. */
export function isMac(mac: unknown): mac is string {
  return typeof mac === "string" && /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(mac);
}

/** The value of the label; undefined when it is longer than a label may be: then the annotation alone has it. */
export function requestLabel(request: NetworkRequest): string | undefined {
  const text = JSON.stringify(request);
  return Buffer.byteLength(text) <= MAX_LABEL ? text : undefined;
}

/**
 * Reads a request.
 * @throws ContainerdError InvalidArgument that names the field
 */
export function parseRequest(text: string): NetworkRequest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw invalidArgument(`${networkKey}: not JSON`);
  }
  return checkRequest(value);
}

/** Checks a request. @throws ContainerdError InvalidArgument that names the field */
export function checkRequest(value: unknown): NetworkRequest {
  const request = object(value, "request");
  const networks = list(request["networks"], "networks", MAX_NETWORKS).map(attachment);
  const names = new Set(networks.map(({ name }) => name));
  if (names.size < networks.length) throw invalidArgument("networks: one of them is named twice");
  const dns = request["dns"] === undefined ? undefined : dnsOf(object(request["dns"], "dns"));
  const app = request["app"];
  return {
    networks,
    ports: list(request["ports"] ?? [], "ports", MAX_PORTS).map(port),
    hostname: request["hostname"] === undefined || request["hostname"] === "" ? "" : host(request["hostname"]),
    ...(dns === undefined ? {} : { dns }),
    extraHosts: list(request["extraHosts"] ?? [], "extraHosts", MAX_HOSTS).map(extraHost),
    ...(app === undefined ? {} : { app: host(app) }),
  };
}

function attachment(value: unknown): NetworkAttachment {
  const { name, aliases, ip, mac } = object(value, "networks");
  if (!isNetworkName(name)) throw invalidArgument(`network ${show(name)}: a name is letters, digits, "_", "." and "-"`);
  if (ip !== undefined && !isAddress(ip)) throw invalidArgument(`network ${name}: ${show(ip)} is no IP address`);
  if (mac !== undefined && !isMac(mac)) throw invalidArgument(`network ${name}: ${show(mac)} is no MAC address`);
  return {
    name,
    aliases: list(aliases ?? [], `aliases of ${name}`, MAX_ALIASES).map(host),
    ...(ip === undefined ? {} : { ip }),
    ...(mac === undefined ? {} : { mac: mac.toLowerCase() }),
  };
}

function port(value: unknown): PublishedPort {
  const { hostIp, hostPort, containerPort, protocol } = object(value, "ports");
  if (hostIp !== undefined && hostIp !== "" && !isAddress(hostIp)) {
    throw invalidArgument(`published port: ${show(hostIp)} is no IP address`);
  }
  if (hostPort !== 0 && !isPort(hostPort))
    throw invalidArgument(`published port: ${show(hostPort)} is no port of the host`);
  if (!isPort(containerPort)) throw invalidArgument(`published port: ${show(containerPort)} is no port`);
  if (protocol !== "tcp" && protocol !== "udp" && protocol !== "sctp") {
    throw invalidArgument(`published port ${hostPort}: ${show(protocol)} is neither tcp nor udp nor sctp`);
  }
  return { ...(hostIp ? { hostIp } : {}), hostPort, containerPort, protocol };
}

function dnsOf({ servers, search, options }: Record<string, unknown>): DnsRequest {
  const words = (value: unknown, name: string, pattern: RegExp): string[] =>
    list(value ?? [], `dns ${name}`, MAX_DNS).map((word) => {
      if (typeof word !== "string" || !pattern.test(word)) throw invalidArgument(`dns ${name}: ${show(word)} is wrong`);
      return word;
    });
  const addresses = list(servers ?? [], "dns servers", MAX_DNS).map((server) => {
    if (!isAddress(server)) throw invalidArgument(`dns server ${show(server)}: no IP address`);
    return server;
  });
  return {
    servers: addresses,
    search: words(search, "search", /^[a-zA-Z0-9_.-]{1,253}$/),
    options: words(options, "options", /^[a-z0-9-]{1,32}(:\d{1,6})?$/),
  };
}

function extraHost(value: unknown): ExtraHost {
  const { name, ip } = object(value, "extraHosts");
  if (ip !== "host-gateway" && !isAddress(ip)) {
    throw invalidArgument(`extra host ${show(name)}: ${show(ip)} is neither an IP address nor host-gateway`);
  }
  return { name: host(name), ip };
}

function host(value: unknown): string {
  if (!isHostName(value)) throw invalidArgument(`${show(value)} is no host name: letters, digits, "_", "." and "-"`);
  return value;
}

function isAddress(value: unknown): value is string {
  return typeof value === "string" && !value.includes("%") && isIP(value) !== 0;
}

function isPort(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value > 0 && value < 65536;
}

function object(value: unknown, name: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw invalidArgument(`${name}: no object`);
  return value as Record<string, unknown>;
}

function list(value: unknown, name: string, most: number): unknown[] {
  if (!Array.isArray(value)) throw invalidArgument(`${name}: no list`);
  if (value.length > most) throw invalidArgument(`${name}: ${value.length} are more than ${most}`);
  return value;
}

function show(value: unknown): string {
  return (JSON.stringify(value) ?? "nothing").slice(0, 80);
}
