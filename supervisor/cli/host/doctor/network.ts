/** The network: CNI plugins and their configuration, packet filters, forwarding. */

import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { area, type Diagnosis, type Place } from "./check.ts";
import { numberOf, programPath } from "./read.ts";

const { ok, warn, fail } = area("network");

/** Where plugins and configurations are looked for. */
const PLUGINS = ["/usr/lib/cni", "/opt/cni/bin"];
const CONFLISTS = "/etc/cni/net.d";
/** What the default network is made of. */
const needed = ["bridge", "host-local", "loopback", "portmap", "firewall"];

export function lookAtNetwork(place: Place): Diagnosis[] {
  return [plugins(place), conflists(place), filters(), forwarding(place)];
}

function plugins({ prefix }: Place): Diagnosis {
  const missing = needed.filter((name) => !PLUGINS.some((directory) => existsSync(join(prefix, directory, name))));
  if (missing.length === 0) return ok("CNI plugins", needed.join(" "));
  const detail = `missing in ${PLUGINS.join(" and ")}: ${missing.join(" ")}`;
  return fail(
    "CNI plugins",
    detail,
    "apt-get install containernetworking-plugins; until then only --network host and none work",
  );
}

function conflists({ prefix }: Place): Diagnosis {
  let names: string[];
  try {
    names = readdirSync(join(prefix, CONFLISTS)).filter((name) => /\.(conflist|conf|json)$/.test(name));
  } catch {
    names = [];
  }
  if (names.length > 0) return ok("CNI networks", `${names.length} in ${CONFLISTS}: ${names.slice(0, 5).join(" ")}`);
  return ok("CNI networks", `none in ${CONFLISTS}: a default one is made when it is needed`);
}

/** portmap and firewall of Debian 12 call iptables, which may be the one that speaks nftables. */
function filters(): Diagnosis {
  const iptables = programPath("iptables");
  if (iptables !== undefined) return ok("packet filter", iptables);
  const nft = programPath("nft");
  const detail =
    nft === undefined
      ? "neither iptables nor nft is installed"
      : "only nft is installed, and CNI's plugins call iptables";
  return fail("packet filter", detail, "apt-get install iptables: without it -p and outgoing connections do not work");
}

function forwarding(place: Place): Diagnosis {
  const on = numberOf(place, "/proc/sys/net/ipv4/ip_forward");
  if (on === 1) return ok("IP forwarding", "on");
  return warn(
    "IP forwarding",
    "off: the bridge plugin turns it on with the first container, until the next reboot or sysctl --system",
    "echo net.ipv4.ip_forward=1 > /etc/sysctl.d/berth.conf && sysctl --system",
  );
}
