/** What a container asks of the network, out of its options. */

import { invalidArgument } from "../../proto/errdefs.ts";
import { hostnameFile } from "../network/files.ts";
import type { NetworkPaths } from "../network/paths.ts";
import { checkRequest, type NetworkRequest } from "../network/request.ts";
import type { NetworkMode, NetworkOptions } from "../network/spec.ts";
import { validateIdentifier } from "../store/identifier.ts";
import type { PortMapping, RunOptions } from "./options.ts";

type NetworkRunOptions = Pick<
  RunOptions,
  | "networks"
  | "networkMode"
  | "ports"
  | "publishAll"
  | "hostname"
  | "dns"
  | "dnsSearch"
  | "dnsOptions"
  | "extraHosts"
  | "app"
  | "uts"
>;

/**
 * The network that options ask for.
 * @param defaultNetwork the network of containers that name none
 * @param exposed ports of the image, such as `80/tcp`
 * @throws ContainerdError InvalidArgument
 */
export function networkOptions(
  namespace: string,
  id: string,
  options: NetworkRunOptions,
  defaultNetwork: string,
  exposed: readonly string[] = [],
): NetworkOptions {
  const mode = modeOf(options);
  const ports = [...(options.ports ?? []), ...(options.publishAll ? exposedPorts(exposed, options.ports ?? []) : [])];
  if (ports.length > 0 && mode !== "cni") {
    throw invalidArgument(`--publish with --network ${mode} has no meaning: take one of them away`);
  }
  const networks = options.networks?.length ? options.networks : [{ name: defaultNetwork }];
  const dns = {
    ...(options.dns?.length ? { servers: options.dns } : {}),
    ...(options.dnsSearch?.length ? { search: options.dnsSearch } : {}),
    ...(options.dnsOptions?.length ? { options: options.dnsOptions } : {}),
  };
  const request: NetworkRequest = checkRequest({
    networks: mode === "cni" ? networks : [],
    ports,
    hostname: options.hostname ?? id.slice(0, 63),
    ...(Object.keys(dns).length > 0 ? { dns } : {}),
    extraHosts: (options.extraHosts ?? []).map(extraHost),
    ...(options.app === undefined ? {} : { app: options.app.name }),
  });
  return { namespace, id, mode, request };
}

/** The host name of the container whose network is shared, as in docker, unless one is given or there is none. */
export function sharedHostname(
  paths: Pick<NetworkPaths, "root">,
  namespace: string,
  { networkMode = "", hostname, uts }: Pick<NetworkRunOptions, "networkMode" | "hostname" | "uts">,
): { readonly hostname?: string } {
  if (!networkMode.startsWith("container:") || hostname !== undefined || uts === "host") return {};
  const other = networkMode.slice("container:".length);
  validateIdentifier(other, "network of a container: ");
  const shared = hostnameFile(paths, namespace, other);
  return shared === "" ? {} : { hostname: shared };
}

function modeOf({ networkMode, networks }: NetworkRunOptions): NetworkMode {
  if (networkMode === undefined || networkMode === "") return "cni";
  if (networks?.length) throw invalidArgument(`network ${networkMode} and networks by name at once: give one of them`);
  if (networkMode === "host" || networkMode === "none") return networkMode;
  const [, other] = /^container:(.+)$/.exec(networkMode) ?? [];
  if (other === undefined) throw invalidArgument(`network mode ${networkMode}: it is host, none or container:ID`);
  validateIdentifier(other, "network of a container: ");
  return `container:${other}`;
}

/** `NAME:ADDRESS`; an address of IPv6 has colons itself. */
function extraHost(text: string): { name: string; ip: string } {
  const colon = text.search(/[:=]/);
  if (colon <= 0) throw invalidArgument(`extra host ${JSON.stringify(text)}: write it as NAME:ADDRESS`);
  return { name: text.slice(0, colon), ip: text.slice(colon + 1).replace(/^\[(.*)\]$/, "$1") };
}

/** The exposed ports that are not published yet, each at one that is free now. */
function exposedPorts(exposed: readonly string[], published: readonly PortMapping[]): PortMapping[] {
  return exposed.flatMap((text) => {
    const [, number, protocol = "tcp"] = /^(\d{1,5})(?:\/(tcp|udp|sctp))?$/.exec(text) ?? [];
    const containerPort = Number(number);
    if (number === undefined || containerPort < 1 || containerPort > 65_535) return [];
    const isPublished = published.some((port) => port.containerPort === containerPort && port.protocol === protocol);
    return isPublished ? [] : [{ hostPort: freePort(), containerPort, protocol: protocol as PortMapping["protocol"] }];
  });
}

/** A port that nobody listens on just now. */
export function freePort(): number {
  const listener = Bun.listen({ hostname: "0.0.0.0", port: 0, socket: { data() {} } });
  const { port } = listener;
  listener.stop(true);
  return port;
}
