/** What a container may ask of the network, and what not. */

import { describe, expect, test } from "bun:test";
import { checkRequest, parseRequest, requestLabel } from "../../../../supervisor/network/request.ts";

const plain = { networks: [{ name: "berth" }], ports: [], hostname: "web" };

describe("a network request", () => {
  test("is read as it was written", () => {
    const request = {
      networks: [
        { name: "front", aliases: ["www", "web_1"], ip: "10.1.0.7", mac: "02:00:00:00:00:01" },
        { name: "back", aliases: [], ip: "fd00::7" },
      ],
      ports: [
        { hostIp: "127.0.0.1", hostPort: 8080, containerPort: 80, protocol: "tcp" as const },
        { hostPort: 53, containerPort: 53, protocol: "udp" as const },
      ],
      hostname: "web.example",
      dns: { servers: ["1.1.1.1"], search: ["example.org"], options: ["ndots:2"] },
      extraHosts: [{ name: "host.docker.internal", ip: "host-gateway" }],
      app: "shop",
    };
    expect(parseRequest(JSON.stringify(request))).toEqual(request);
  });

  test.each([
    ["networks", { ...plain, networks: "berth" }],
    ["name", { ...plain, networks: [{ name: "../etc" }] }],
    ["twice", { ...plain, networks: [{ name: "a" }, { name: "a" }] }],
    ["no host name", { ...plain, networks: [{ name: "a", aliases: ["x\n1.2.3.4 bank"] }] }],
    ["no host name", { ...plain, hostname: "a b" }],
    ["IP address", { ...plain, networks: [{ name: "a", ip: "10.1.0.300" }] }],
    ["MAC address", { ...plain, networks: [{ name: "a", mac: "02:00" }] }],
    ["no port of the host", { ...plain, ports: [{ hostPort: -1, containerPort: 1, protocol: "tcp" }] }],
    ["no port", { ...plain, ports: [{ hostPort: 1, containerPort: 65536, protocol: "tcp" }] }],
    ["neither tcp", { ...plain, ports: [{ hostPort: 1, containerPort: 1, protocol: "icmp" }] }],
    ["IP address", { ...plain, ports: [{ hostIp: "localhost", hostPort: 1, containerPort: 1, protocol: "tcp" }] }],
    ["dns server", { ...plain, dns: { servers: ["resolver.example"] } }],
    ["dns search", { ...plain, dns: { search: ["a\nnameserver 6.6.6.6"] } }],
    ["dns options", { ...plain, dns: { options: ["ndots:2 x"] } }],
    ["extra host", { ...plain, extraHosts: [{ name: "a", ip: "b" }] }],
    ["more than", { ...plain, ports: Array.from({ length: 5000 }, () => ({})) }],
    ["no object", null],
  ])("is refused for %s", (reason, value) => {
    expect(() => checkRequest(value)).toThrow(reason);
  });

  test("that is not JSON is refused", () => {
    expect(() => parseRequest("{")).toThrow("not JSON");
  });

  test("is no label when it is longer than a label may be", () => {
    expect(requestLabel(plain)).toBe(JSON.stringify(plain));
    const ports = Array.from({ length: 100 }, (_, n) => ({
      hostPort: n + 1,
      containerPort: n + 1,
      protocol: "tcp" as const,
    }));
    expect(requestLabel({ ...plain, ports })).toBeUndefined();
  });
});
