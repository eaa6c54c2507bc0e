/** Networks of containers, with Debian's plugins, iptables and real traffic, in a network namespace of the test's own. */

import { expect } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createNetwork } from "../../supervisor/network/create.ts";
import { connectOutside, inNetns, makeNetnsBerthd, Netns, type NetnsBerthd, whyNoNetworks } from "../lib/netns.ts";
import {
  addressOf,
  expectError,
  fetched,
  fetchedFrom,
  fetchedIn,
  getting,
  hostsOf,
  idle,
  inside,
  leftOf,
  netnsOf,
  nothing,
  pathsOf,
  pidOf,
  removeNetworked,
  runNetworked,
  serving,
} from "../lib/network.ts";
import { containerSuite } from "../lib/suite.ts";
import { waitFor } from "../lib/wait.ts";

const suite = containerSuite({}, makeNetnsBerthd);
const skip = whyNoNetworks();

suite.test(
  "two containers find each other by name, and the outside by masquerade",
  async ({ daemon, id }) => {
    const [web, client] = [id(), id()];
    const outside = await Netns.make();
    try {
      await connectOutside(netnsOf(daemon), outside);
      await runNetworked(daemon, web, serving("hello"), {
        request: { networks: [{ name: "berth", aliases: ["www"] }] },
      });
      await runNetworked(daemon, client, idle);
      expect(await fetched(daemon, client, web)).toBe("hello");
      expect(await fetched(daemon, client, "www")).toBe("hello");
      expect(await inside(daemon, client, ["hostname"])).toBe(client);
      // The running container learns of the one that came later.
      expect(hostsOf(daemon, web)).toContain(`${addressOf(daemon, client)}\t${client}\n`);
      expect(await inside(daemon, web, ["cat", "/etc/hosts"])).toContain(`\t${client}\n`);

      expect(await fetchedFrom(daemon, client, { netns: outside, host: "192.0.2.1" }, "outside")).toBe("outside");
      await removeNetworked(daemon, web);
      expect(hostsOf(daemon, client)).not.toContain(`\t${web}`);
      await removeNetworked(daemon, client);
      expect(await leftOf(daemon)).toEqual(nothing);
      await waitFor(
        "their files to go",
        () => !existsSync(join(pathsOf(daemon).root, "containers", daemon.namespace, web)),
      );
    } finally {
      await outside.end();
    }
  },
  { skip, timeout: 60_000 },
);

suite.test(
  "published ports are reached by loopback, by address and from outside, and refused when they are taken",
  async ({ daemon, id }) => {
    const [web, other, third] = [id(), id(), id()];
    const outside = await Netns.make();
    try {
      const netns = netnsOf(daemon);
      await connectOutside(netns, outside);
      const ports = [
        { hostPort: 8080, containerPort: 80, protocol: "tcp" as const },
        { hostPort: 5300, containerPort: 53, protocol: "udp" as const },
      ];
      await runNetworked(daemon, web, serving("published"), { request: { ports } });
      expect(await fetchedIn(netns, "127.0.0.1", 8080)).toBe("published");
      expect(await fetchedIn(netns, "192.0.2.2", 8080)).toBe("published");
      expect(await fetchedIn(outside, "192.0.2.2", 8080)).toBe("published");
      // By way of the host, from the container itself.
      expect(await fetched(daemon, web, "host.berth.internal", 8080)).toBe("published");

      const echo = Bun.spawn(
        inNetns(`/proc/${await pidOf(daemon, web)}/ns/net`, [
          process.execPath,
          "-e",
          `await Bun.udpSocket({ port: 53, socket: { data(s, d, port, address) { s.send("got " + d, port, address); } } })`,
        ]),
        { stdin: "ignore", stdout: "ignore", stderr: "inherit" },
      );
      try {
        const ask = `const s = await Bun.udpSocket({ socket: { data(_, d) { console.log(d.toString()); process.exit(0); } } });
          setInterval(() => s.send("ping", 5300, "192.0.2.2"), 100); setTimeout(() => process.exit(1), 10000);`;
        expect((await outside.run([process.execPath, "-e", ask])).stdout.trim()).toBe("got ping");
      } finally {
        echo.kill();
        await echo.exited;
      }

      // At the making, by another container; at the start, when it came between.
      await expectError(
        runNetworked(daemon, other, idle, { request: { ports } }),
        `8080/tcp of the host is taken by container ${web}`,
      );
      const taker = Bun.spawn(netns.command(["busybox", "nc", "-l", "-p", "8081"]), { stdin: "ignore" });
      try {
        const wanted = [{ hostPort: 8081, containerPort: 80, protocol: "tcp" as const }];
        const failed = await waitFor("the port to be taken", async () => {
          const { stderr, exitCode } = await runNetworked(daemon, third, idle, {
            request: { ports: wanted },
            check: false,
          });
          return exitCode !== 0 && stderr;
        });
        expect(failed).toMatch(/port 8081\/tcp of the host is taken by process (busybox|nc) \(pid \d+\): stop that/);
      } finally {
        taker.kill();
        await taker.exited;
      }
      await daemon.ctr(["containers", "delete", third]);
      await removeNetworked(daemon, web);
      expect(await leftOf(daemon)).toEqual(nothing);
    } finally {
      await outside.end();
    }
  },
  { skip, timeout: 60_000 },
);

suite.test(
  "20 containers at once get an address each, and give it back",
  async ({ daemon, id }) => {
    const ids = Array.from({ length: 20 }, () => id());
    await Promise.all(ids.map((one) => runNetworked(daemon, one, idle)));
    const addresses = ids.map((one) => addressOf(daemon, one));
    expect(new Set(addresses).size).toBe(20);
    const [first = "", last = ""] = [ids[0], ids.at(-1)];
    for (const one of ids) expect(hostsOf(daemon, first)).toContain(`\t${one}\n`);
    expect(await inside(daemon, last, ["cat", "/etc/hosts"])).toContain(`${addresses[0]}\t${first}\n`);
    await Promise.all(ids.map((one) => removeNetworked(daemon, one)));
    expect(await leftOf(daemon)).toEqual(nothing);
  },
  { skip, timeout: 90_000 },
);

suite.test(
  "the default network is made once, valid for every runtime, and broken files are passed over",
  async ({ daemon, id }) => {
    const [one] = [id()];
    const { confDir } = daemon as NetnsBerthd;
    writeFileSync(join(confDir, "00-broken.conflist"), "{");
    writeFileSync(
      join(confDir, "01-hostile.conflist"),
      JSON.stringify({ name: "x", plugins: [{ type: "../../bin/sh" }] }),
    );
    await runNetworked(daemon, one, idle);
    const path = join(confDir, "90-berth-berth.conflist");
    const conf = JSON.parse(readFileSync(path, "utf8")) as { plugins: { type: string }[] };
    expect(conf.plugins.map(({ type }) => type)).toEqual(["bridge", "portmap", "firewall"]);
    expect(await inside(daemon, one, ["busybox", "ip", "-o", "address", "show", "dev", "lo"])).toContain("127.0.0.1/8");
    const { stderr } = await runNetworked(daemon, id(), idle, {
      request: { networks: [{ name: "berth" }] },
      check: false,
    });
    expect(stderr).toBe("");
    await expectError(
      runNetworked(daemon, "never", idle, { request: { networks: [{ name: "missing" }] } }),
      `network missing is not in ${confDir}: berth network create missing`,
    );
    await removeNetworked(daemon, one, `c${Number(one.slice(1)) + 1}`);
  },
  { skip },
);

suite.test(
  "an internal network reaches itself alone, and networks do not reach each other",
  async ({ daemon, id }) => {
    const [a, b, c] = [id(), id(), id()];
    const paths = pathsOf(daemon);
    // Only files are made outside the daemon's namespace.
    await createNetwork(paths, { name: "inner", internal: true, subnets: ["10.77.1.0/24"] });
    await createNetwork(paths, { name: "second", subnets: ["10.77.2.0/24", "fd77::/64"] });
    await runNetworked(daemon, a, serving("inner"), { request: { networks: [{ name: "inner", ip: "10.77.1.50" }] } });
    await runNetworked(daemon, b, idle, { request: { networks: [{ name: "second" }, { name: "inner" }] } });
    await runNetworked(daemon, c, serving("second"), { request: { networks: [{ name: "berth" }] } });
    expect(addressOf(daemon, a)).toBe("10.77.1.50");
    expect(await fetched(daemon, b, a)).toBe("inner");
    // The first network has the default route, whatever the second is.
    expect(await inside(daemon, b, ["busybox", "ip", "route"])).toContain("default via 10.77.2.1 dev eth0");
    expect(await inside(daemon, b, ["busybox", "ip", "-6", "address", "show", "dev", "eth0"])).toContain("fd77::");
    expect((await inside(daemon, a, ["busybox", "ip", "route"])).includes("default")).toBe(false);
    expect(await inside(daemon, b, getting(addressOf(daemon, c), 80))).toBe("");
    const ports = [{ hostPort: 81, containerPort: 80, protocol: "tcp" as const }];
    const request = { networks: [{ name: "inner" }], ports };
    const { stderr } = await runNetworked(daemon, id(), idle, { request, check: false });
    expect(stderr).toContain("ports cannot be published: no network of inner has a plugin");
    await removeNetworked(daemon, a, b, c);
    expect(await leftOf(daemon)).toEqual(nothing);
  },
  { skip, timeout: 60_000 },
);
