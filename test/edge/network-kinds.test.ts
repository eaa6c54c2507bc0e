/** Networks of other kinds than the default one, with real traffic: IPv6, and macvlan on an interface of the host. */

import { expect } from "bun:test";
import { readAttachments } from "../../supervisor/network/attachments.ts";
import { addressesOf } from "../../supervisor/network/cni/result.ts";
import { builtBerth, Cli } from "../lib/cli.ts";
import type { Daemon } from "../lib/daemon.ts";
import { connectOutside, makeNetnsBerthd, Netns, whyNoNetworks } from "../lib/netns.ts";
import {
  addressOf,
  fetched,
  fetchedFrom,
  fetchedIn,
  hostsOf,
  idle,
  inside,
  leftOf,
  netnsOf,
  nothing,
  pathsOf,
  removeNetworked,
  runNetworked,
  serving,
} from "../lib/network.ts";
import { containerSuite } from "../lib/suite.ts";

const suite = containerSuite({}, makeNetnsBerthd);
const skip = whyNoNetworks();

/** Makes a network by the command, which sees the interfaces and routes that the daemon sees. */
async function create(daemon: Daemon, ...args: readonly string[]): Promise<void> {
  await netnsOf(daemon).run([builtBerth, "network", "create", ...args], { env: new Cli(daemon).env });
}

/** The IPv6 address of a container. */
function address6Of(daemon: Daemon, id: string): string {
  const attachment = readAttachments(pathsOf(daemon)).find((one) => one.id === id);
  return addressesOf(attachment?.networks[0]?.result).find(({ ip }) => ip.includes(":"))?.ip ?? "none";
}

suite.test(
  "IPv6: containers reach each other, the outside by masquerade, and are reached by published ports",
  async ({ daemon, id }) => {
    const [web, client] = [id(), id()];
    const outside = await Netns.make();
    try {
      const netns = netnsOf(daemon);
      await connectOutside(netns, outside);
      await netns.run(["ip", "-6", "address", "add", "2001:db8::2/64", "dev", "out0", "nodad"]);
      await outside.run(["ip", "-6", "address", "add", "2001:db8::1/64", "dev", "in0", "nodad"]);
      await netns.run(["ip", "-6", "route", "add", "default", "via", "2001:db8::1"]);
      await create(daemon, "six", "--ipv6");
      const networks = [{ name: "six" }];
      const ports = [{ hostPort: 8080, containerPort: 80, protocol: "tcp" as const }];
      await runNetworked(daemon, web, serving("six"), { request: { networks, ports } });
      await runNetworked(daemon, client, idle, { request: { networks } });
      const address = address6Of(daemon, web);
      expect(address).toMatch(/^fd[0-9a-f:]+$/);
      expect(await fetched(daemon, client, address)).toBe("six");
      expect(hostsOf(daemon, client)).toContain(`${address}\t${web}\n`);
      expect(await fetchedIn(outside, "2001:db8::2", 8080)).toBe("six");
      expect(await fetchedIn(outside, "192.0.2.2", 8080)).toBe("six");
      expect(await fetchedFrom(daemon, client, { netns: outside, host: "2001:db8::1" }, "outside")).toBe("outside");
      await removeNetworked(daemon, web, client);
      expect(await leftOf(daemon)).toEqual(nothing);
      const rules = (await netns.run(["ip6tables", "-t", "nat", "-S"])).stdout;
      expect(rules.split("\n").filter((line) => line.includes("CNI-DN-"))).toEqual([]);
    } finally {
      await outside.end();
    }
  },
  { skip, timeout: 60_000 },
);

suite.test(
  "macvlan: containers are on the wire of an interface of the host, side by side with what is there",
  async ({ daemon, id }) => {
    const [web, client] = [id(), id()];
    const outside = await Netns.make();
    try {
      const netns = netnsOf(daemon);
      const pair = [
        "ip",
        "link",
        "add",
        "wire0",
        "type",
        "veth",
        "peer",
        "name",
        "wire1",
        "netns",
        String(outside.pid),
      ];
      await netns.run(pair);
      await netns.run(["ip", "link", "set", "wire0", "up"]);
      await outside.run(["ip", "address", "add", "198.51.100.1/24", "dev", "wire1"]);
      await outside.run(["ip", "link", "set", "wire1", "up"]);
      await create(
        daemon,
        ...["lan", "-d", "macvlan", "--parent", "wire0", "--subnet", "198.51.100.0/24", "--gateway", "198.51.100.1"],
      );
      const networks = [{ name: "lan" }];
      await runNetworked(daemon, web, serving("on the wire"), { request: { networks } });
      await runNetworked(daemon, client, idle, { request: { networks } });
      const address = addressOf(daemon, web);
      expect(address).toMatch(/^198\.51\.100\.\d+$/);
      // Nobody translates: the machine beside us reaches the container by its own address, and the other way.
      expect(await fetchedIn(outside, address, 80)).toBe("on the wire");
      expect(await fetched(daemon, client, web)).toBe("on the wire");
      expect(await inside(daemon, client, ["busybox", "ip", "route"])).toContain("default via 198.51.100.1");
      expect(await fetchedFrom(daemon, client, { netns: outside, host: "198.51.100.1" }, "beside")).toBe("beside");
      await removeNetworked(daemon, web, client);
      expect(await leftOf(daemon)).toEqual(nothing);
      await netns.run([builtBerth, "network", "rm", "lan"], { env: new Cli(daemon).env });
    } finally {
      await outside.end();
    }
  },
  { skip, timeout: 60_000 },
);
