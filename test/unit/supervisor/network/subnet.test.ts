/** Addresses, subnets, and rules of networks. */

import { describe, expect, test } from "bun:test";
import { isIP } from "../../../../supervisor/network/address.ts";
import { addressAt, cidrText, contains, overlap, parseCidr } from "../../../../supervisor/network/cidr.ts";
import { parseConf } from "../../../../supervisor/network/cni/conf.ts";
import { bridgeName, conflistOf } from "../../../../supervisor/network/conflist.ts";
import { isOf, unquoted } from "../../../../supervisor/network/leftovers.ts";
import { parseSockets } from "../../../../supervisor/network/ports.ts";
import { hasSharedRules, rulesOf, withoutRules } from "../../../../supervisor/network/rules.ts";
import { chooseSubnet, parseRoutes, parseRoutes6, takenBy } from "../../../../supervisor/network/subnet.ts";

const taken = (...texts: string[]) => texts.map((text) => ({ range: parseCidr(text), by: text }));

describe("subnets", () => {
  test("are ranges", () => {
    expect(cidrText(parseCidr("10.1.2.3/24"))).toBe("10.1.2.0/24");
    expect(cidrText(parseCidr("fd00::1:2/64"))).toBe("fd00::/64");
    expect(addressAt(parseCidr("10.1.2.0/24"), 1)).toBe("10.1.2.1");
    expect(addressAt(parseCidr("fd00::/64"), 1)).toBe("fd00::1");
    expect(overlap(parseCidr("10.0.0.0/8"), parseCidr("10.9.0.0/24"))).toBe(true);
    expect(overlap(parseCidr("10.0.0.0/24"), parseCidr("10.0.1.0/24"))).toBe(false);
    expect(contains(parseCidr("fd00::/64"), "fd00::ffff")).toBe(true);
    for (const wrong of ["10.0.0.0", "10.0.0.0/33", "10.0.0/8", "::/129", "a/8", "10.0.0.0/8/8"]) {
      expect(() => parseCidr(wrong)).toThrow("no subnet");
    }
  });

  test("are chosen where nobody is", () => {
    expect(cidrText(chooseSubnet(["10.210.0.0/16"], taken("10.210.0.0/23", "10.210.3.7/32")))).toBe("10.210.2.0/24");
    expect(cidrText(chooseSubnet(["10.0.0.0/23", "10.9.0.0/24"], taken("10.0.0.0/15")))).toBe("10.9.0.0/24");
    expect(() => chooseSubnet(["10.0.0.0/23"], taken("10.0.0.0/8"))).toThrow("--subnet");
  });

  test("of the host are read from its routes", () => {
    const text =
      "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\neth0\t00000000\t010200C0\t3\t0\t0\t0\t00000000\neth0\t000200C0\t0\t1\t0\t0\t0\t00FFFFFF\n";
    expect(parseRoutes(text).map(({ range, by }) => `${cidrText(range)} ${by}`)).toEqual([
      "192.0.2.0/24 a route by eth0",
    ]);
    const zeros = "0".repeat(32);
    const six = `fd000000000000000000000000000000 40 ${zeros} 00 ${zeros} 00000100 1 0 00000001     eth0\nfe800000000000000000000000000000 40 ${zeros} 00 ${zeros} 00000100 1 0 00000001     eth0\n`;
    expect(parseRoutes6(six).map(({ range, by }) => `${cidrText(range)} ${by}`)).toEqual(["fd00::/64 a route by eth0"]);
    expect(takenBy(parseCidr("192.0.2.128/25"), parseRoutes(text))).toBe("a route by eth0");
  });

  test("addresses are told from what is none", () => {
    for (const [text, family] of [
      ["1.2.3.4", 4],
      ["::1", 6],
      ["fd00::1.2.3.4", 6],
      ["1.2.3", 0],
      ["1.2.3.256", 0],
      ["01.2.3.4", 0],
      [":::", 0],
      ["fe80::1%eth0", 0],
      ["", 0],
    ] as const) {
      expect(isIP(text)).toBe(family);
    }
  });
});

describe("a network of berth's", () => {
  const plan = {
    name: "shop",
    driver: "bridge" as const,
    subnets: [parseCidr("10.1.0.0/24"), parseCidr("fd01::/64")],
    bridge: bridgeName("shop"),
    leases: "/run/l",
  };
  const conf = parseConf(JSON.stringify(conflistOf(plan)), true);

  test("has a bridge whose name fits, and Debian's plugins", () => {
    expect(bridgeName("berth")).toBe("berth0");
    expect(bridgeName("a-very-long-name-of-a-network").length).toBe(15);
    expect(conf.plugins.map(({ type }) => type)).toEqual(["bridge", "portmap", "firewall"]);
    expect(conf.plugins[0]).toMatchObject({ isGateway: true, ipMasq: true, hairpinMode: true });
    expect(() => conflistOf({ ...plan, gateways: ["10.2.0.1"] })).toThrow("gateway 10.2.0.1 is in no subnet");
    expect(() => conflistOf({ ...plan, subnets: [parseCidr("10.1.0.0/30")] })).toThrow("too small");
  });

  test("has its rules in both families, and plugins without them", () => {
    expect(hasSharedRules(conf)).toBe(true);
    const rules = rulesOf(conf);
    expect(rules.map(({ program }) => program)).toEqual(["iptables", "ip6tables"]);
    expect(rules[0]?.chains[1]?.rules).toContain(`-i berth+ -o ${plan.bridge} -j DROP`);
    expect(rules[1]?.chains[0]?.rules.at(-1)).toBe("! -d ff00::/8 -j MASQUERADE");
    expect(withoutRules(conf, false).plugins.map(({ type, ipMasq }) => [type, ipMasq])).toEqual([["bridge", false]]);
    expect(withoutRules(conf, true).plugins.map(({ type }) => type)).toEqual(["bridge", "portmap"]);
    // Nothing of an internal network leaves it.
    const inner = rulesOf(parseConf(JSON.stringify(conflistOf({ ...plan, internal: true })), true));
    expect(inner.flatMap(({ chains }) => chains.map(({ table }) => table))).toEqual(["filter", "filter"]);
  });
});

describe("what others have", () => {
  test("leftover rules are told by the comment of the plugins", () => {
    const rule = `-A POSTROUTING -s 10.1.0.2/32 -m comment --comment "name: \\"net\\" id: \\"c1\\"" -j CNI-abc`;
    expect(isOf(rule, "net", "c1")).toBe(true);
    expect(isOf(rule, "net", undefined)).toBe(true);
    expect(isOf(rule, "ne", undefined)).toBe(false);
    expect(isOf(rule, "net", "c")).toBe(false);
    expect(unquoted(rule)).toContain(`name: "net" id: "c1"`);
  });

  test("sockets of the host are read from /proc/net", () => {
    const text =
      "  sl  local_address\n   0: 0100007F:1F90 00000000:0000 0A 0:0 00:0 0 0 0 4711 1\n   1: 0100007F:1F91 00000000:0000 01 0:0 00:0 0 0 0 4712 1\n";
    expect(parseSockets(text, "tcp", "0A")).toEqual([{ protocol: "tcp", ip: "127.0.0.1", port: 8080, inode: "4711" }]);
    const mapped =
      "h\n 0: 0000000000000000FFFF00000100007F:0050 0:0 0A 0:0 0:0 0 0 0 1 1\n 1: 00000000000000000000000001000000:0051 0:0 0A 0:0 0:0 0 0 0 2 1\n";
    expect(parseSockets(mapped, "tcp", "0A").map(({ ip }) => ip)).toEqual(["127.0.0.1", "::1"]);
  });
});
