/** Published ports: who has one already. */

import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import type { Attachment } from "./attachments.ts";
import type { PublishedPort } from "./request.ts";

/** A port that cannot be published. */
export interface PortConflict {
  readonly port: PublishedPort;
  /** Who has it, in words: `container web` or `process nginx (pid 7)`. */
  readonly holder: string;
}

interface Listener {
  readonly protocol: string;
  readonly ip: string;
  readonly port: number;
  readonly inode: string;
}

const LISTEN = "0A";
const UNCONNECTED = "07";

/**
 * Which of the ports somebody has: another container, or a process of the host.
 * @param self the container that asks, whose own attachment does not count
 */
export function portConflicts(
  ports: readonly PublishedPort[],
  attachments: readonly Attachment[],
  self: { readonly namespace: string; readonly id: string },
): PortConflict[] {
  if (ports.length === 0) return [];
  const listeners = ports.some(({ protocol }) => protocol !== "sctp") ? readListeners() : [];
  return ports.flatMap((port) => {
    const other = attachments.find(
      ({ namespace, id, request }) =>
        !(namespace === self.namespace && id === self.id) &&
        request.ports.some(
          ({ protocol, hostPort, hostIp }) =>
            protocol === port.protocol && hostPort === port.hostPort && overlaps(hostIp ?? "", port.hostIp ?? ""),
        ),
    );
    if (other !== undefined) {
      const where = other.namespace === self.namespace ? "" : ` of namespace ${other.namespace}`;
      return [{ port, holder: `container ${other.id}${where}` }];
    }
    const listener = listeners.find(
      ({ protocol, port: taken, ip }) =>
        protocol === port.protocol && taken === port.hostPort && overlaps(ip, port.hostIp ?? ""),
    );
    return listener === undefined ? [] : [{ port, holder: processOf(listener.inode) }];
  });
}

/** The sentence about a conflict. */
export function conflictText({ port: { hostIp, hostPort, protocol }, holder }: PortConflict): string {
  const at = hostIp === undefined ? "" : `${hostIp.includes(":") ? `[${hostIp}]` : hostIp}:`;
  return `port ${at}${hostPort}/${protocol} of the host is taken by ${holder}: stop that, or publish another port`;
}

/**
 * Ports of the host that nobody has, out of the range that the kernel gives to those who ask for any.
 * @throws Error when there are not so many
 */
export function freePorts(
  count: number,
  protocol: PublishedPort["protocol"],
  attachments: readonly Attachment[],
): number[] {
  const [least = 32_768, most = 60_999] = ephemeralRange();
  const taken = new Set([
    ...readListeners().flatMap((listener) => (listener.protocol === protocol ? [listener.port] : [])),
    ...attachments.flatMap(({ request }) => request.ports.map(({ hostPort }) => hostPort)),
  ]);
  const size = most - least + 1;
  const found: number[] = [];
  let port = least + Math.floor(Math.random() * size);
  for (let looked = 0; looked < size && found.length < count; looked++, port = port === most ? least : port + 1) {
    if (!taken.has(port)) found.push(port);
  }
  if (found.length < count) throw new Error(`no ${count} ports of the host are free for ${protocol}`);
  return found;
}

/** True when two addresses to listen on cannot have the same port. */
function overlaps(a: string, b: string): boolean {
  return a === b || isAny(a) || isAny(b);
}

function isAny(ip: string): boolean {
  return ip === "" || ip === "0.0.0.0" || ip === "::";
}

/** Sockets that a published port would take the traffic of. */
function readListeners(): Listener[] {
  return ["tcp", "tcp6", "udp", "udp6"].flatMap((file) => {
    const wanted = file.startsWith("tcp") ? LISTEN : UNCONNECTED;
    return parseSockets(readText(`/proc/net/${file}`) ?? "", file.slice(0, 3), wanted);
  });
}

/** The sockets of a file of /proc/net that are in a state. */
export function parseSockets(text: string, protocol: string, wanted: string): Listener[] {
  return text
    .split("\n")
    .slice(1)
    .flatMap((line) => {
      const [, local = "", , state, , , , , , inode = ""] = line.trim().split(/\s+/);
      if (state !== wanted) return [];
      const [address = "", port = ""] = local.split(":");
      return [{ protocol, ip: addressOf(address), port: Number.parseInt(port, 16), inode }];
    });
}

/** An address of /proc/net: words in the order of the machine's bytes. */
function addressOf(hex: string): string {
  const words = (hex.match(/.{8}/g) ?? []).map((word) => word.match(/../g)?.reverse() ?? []);
  const bytes = words.flat().map((byte) => Number.parseInt(byte, 16));
  if (bytes.length === 4) return bytes.join(".");
  if (bytes.every((byte) => byte === 0)) return "::";
  // An IPv4 socket of a program that uses IPv6 for both.
  if (bytes.slice(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff) return bytes.slice(12).join(".");
  const groups = Array.from({ length: 8 }, (_, n) =>
    (((bytes[2 * n] ?? 0) << 8) | (bytes[2 * n + 1] ?? 0)).toString(16),
  );
  return new URL(`http://[${groups.join(":")}]`).hostname.slice(1, -1);
}

function processOf(inode: string): string {
  const link = `socket:[${inode}]`;
  const has = (pid: string): boolean =>
    names(`/proc/${pid}/fd`).some((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`) === link;
      } catch {
        return false;
      }
    });
  const pid = names("/proc").find((name) => /^\d+$/.test(name) && has(name));
  if (pid === undefined) return "a process of the host";
  return `process ${(readText(`/proc/${pid}/comm`) ?? "").trim()} (pid ${pid})`;
}

function ephemeralRange(): number[] {
  return (readText("/proc/sys/net/ipv4/ip_local_port_range") ?? "").trim().split(/\s+/).map(Number).filter(Boolean);
}

function names(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
