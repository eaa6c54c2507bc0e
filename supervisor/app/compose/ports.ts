/** Ports of a service: `[[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]` with ranges, or a map. */

import { isIP } from "node:net";
import type { PortMapping } from "../../container/options.ts";
import type { Node } from "./node.ts";
import type { Problems } from "./problem.ts";
import { either, integer, list, matching, object, oneOf, type Reader, text, wrong } from "./reader.ts";

const protocols = ["tcp", "udp", "sctp"] as const;
const MAX_RANGE = 1000;
const form = 'a port such as "8080:80", "127.0.0.1:8080:80" or "53:53/udp"';
const noHost = "no port of the host: write HOST:CONTAINER, since berth picks none";

interface Range {
  readonly from: number;
  readonly to: number;
}

function rangeOf(written: string): Range | undefined {
  const [, first, last = first] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(written) ?? [];
  const [from, to] = [Number(first), Number(last)];
  return from >= 1 && to >= from && to <= 65_535 && to - from < MAX_RANGE ? { from, to } : undefined;
}

function mappings(
  node: Node,
  problems: Problems,
  {
    host,
    container,
    protocol,
    hostIp,
  }: { host: Range; container: Range; protocol: PortMapping["protocol"]; hostIp?: string },
): PortMapping[] | undefined {
  const count = container.to - container.from;
  if (host.to - host.from !== count) {
    return problems.add(node.at, node.path, "the range of the host and that of the container have different lengths");
  }
  return Array.from({ length: count + 1 }, (_, index) => ({
    ...(hostIp === undefined ? {} : { hostIp }),
    hostPort: host.from + index,
    containerPort: container.from + index,
    protocol,
  }));
}

const short: Reader<PortMapping[]> = (node, problems) => {
  const written = text(node, problems);
  if (written === undefined) return undefined;
  const [, address, ports = "", kind = "tcp"] =
    /^(?:(\[[0-9a-fA-F:.]+\]|[0-9.]+):)?((?:[0-9-]*:)?[0-9-]+)(?:\/([a-z]+))?$/.exec(written) ?? [];
  const protocol = protocols.find((each) => each === kind);
  const hostIp = address?.replace(/^\[|\]$/g, "");
  const [inside = "", outside] = ports.split(":").toReversed();
  const container = rangeOf(inside);
  // `8080:80` looks like an address and a port, too.
  const isAddress = hostIp === undefined || isIP(hostIp) > 0;
  const looksLikePort = hostIp !== undefined && !isAddress && outside === undefined ? rangeOf(hostIp) : undefined;
  if (container === undefined || protocol === undefined || (!isAddress && looksLikePort === undefined)) {
    return wrong(node, problems, form);
  }
  const host = looksLikePort ?? (outside === undefined || outside === "" ? undefined : rangeOf(outside));
  if (host === undefined) {
    return outside === undefined || outside === ""
      ? problems.add(node.at, node.path, noHost)
      : wrong(node, problems, form);
  }
  const where = looksLikePort !== undefined || hostIp === undefined ? {} : { hostIp };
  return mappings(node, problems, { host, container, protocol, ...where });
};

const longFields = object(
  {
    target: integer(1, 65_535),
    published: matching(/^\d{1,5}(?:-\d{1,5})?$/, "a port or a range of ports"),
    host_ip: text,
    protocol: oneOf(...protocols),
    mode: oneOf("host", "ingress"),
    name: text,
    app_protocol: text,
  },
  {},
);

const long: Reader<PortMapping[]> = (node, problems) => {
  const read = longFields(node, problems);
  if (read === undefined) return undefined;
  const { target, published, host_ip: hostIp, protocol = "tcp" } = read;
  if (target === undefined) return problems.add(node.at, node.path, "no target: the port of the container");
  if (published === undefined) return problems.add(node.at, node.path, noHost);
  if (hostIp !== undefined && isIP(hostIp) === 0) return problems.add(node.at, node.path, "host_ip is no IP address");
  const host = rangeOf(published);
  if (host === undefined) return problems.add(node.at, node.path, `published is no port: ${published}`);
  // Of a range any would do: the first is taken.
  const only = { from: host.from, to: host.from };
  return mappings(node, problems, {
    host: only,
    container: { from: target, to: target },
    protocol,
    ...(hostIp === undefined ? {} : { hostIp }),
  });
};

/** Every port with its number on the host, ranges taken apart. */
export const ports: Reader<PortMapping[]> = (node, problems) => {
  const found = list(either(short, long))(node, problems)?.flat();
  const seen = new Set<string>();
  for (const { hostIp = "", hostPort, protocol } of found ?? []) {
    const key = `${hostIp} ${hostPort}/${protocol}`;
    if (seen.has(key)) problems.add(node.at, node.path, `port ${hostPort}/${protocol} of the host is published twice`);
    seen.add(key);
  }
  return found;
};
