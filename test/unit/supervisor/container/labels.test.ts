import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { containerLabels } from "../../../../supervisor/container/container-labels.ts";
import { generatedName } from "../../../../supervisor/container/create.ts";
import { imageDefaults } from "../../../../supervisor/container/image-config.ts";
import { logFileOf, logUri } from "../../../../supervisor/container/log-uri.ts";
import { networkOptions, sharedHostname } from "../../../../supervisor/container/network.ts";
import type { RunOptions } from "../../../../supervisor/container/options.ts";
import { prepareFiles } from "../../../../supervisor/network/files.ts";

const config = {
  Labels: { a: "image", long: "x".repeat(5000) },
  StopSignal: "SIGQUIT",
  Healthcheck: { Test: ["CMD", "ok"], Interval: 5e9, Retries: 2 },
  ExposedPorts: { "80/tcp": {}, "53/udp": {}, nonsense: {} },
  Volumes: { "/data": {}, relative: {} },
};

function labels(options: Partial<RunOptions> = {}, image: unknown = config) {
  return containerLabels({
    id: "web",
    namespace: "default",
    options: { image: "i", ...options },
    image: { name: "docker.io/library/i:latest", defaults: imageDefaults({ config: image }) },
    place: { root: "/root", state: "/run/x" },
    network: { "berth/network": "{}" },
    anonymousVolumes: [],
  });
}

describe("the labels of a new container", () => {
  test("are the image's, those that fit, and the user's over them", () => {
    expect(labels({ labels: { a: "mine" } })).toMatchObject({ a: "mine", "berth/network": "{}" });
    expect(labels()).not.toHaveProperty("long");
    expect(() => labels({ labels: { mine: "x".repeat(5000) } })).toThrow("label mine is too long");
  });

  test("a policy is there from the start, and that it shall run is not", () => {
    const made = labels({ restart: { name: "on-failure", maximum: 3 } });
    expect(made["containerd.io/restart.policy"]).toBe("on-failure:3");
    expect(made["containerd.io/restart.loguri"]).toBe(made["berth/log"] ?? "");
    expect(made).not.toHaveProperty("containerd.io/restart.status");
    expect(labels({ restart: { name: "no" } })).not.toHaveProperty("containerd.io/restart.policy");
    expect(() => labels({ restart: { name: "always" }, autoRemove: true })).toThrow("--rm and --restart");
  });

  test("a health check is the image's with what options change, or none", () => {
    expect(JSON.parse(labels()["berth/health"] ?? "")).toEqual({
      test: ["CMD", "ok"],
      interval: 5000,
      timeout: 30_000,
      retries: 2,
      start_period: 0,
      start_interval: 5000,
      action: "none",
    });
    const changed = labels({ health: { timeout: 1000, action: "restart" } });
    expect(JSON.parse(changed["berth/health"] ?? "")).toMatchObject({
      test: ["CMD", "ok"],
      timeout: 1000,
      action: "restart",
    });
    expect(labels({ health: null })).not.toHaveProperty("berth/health");
    expect(() => labels({ health: { timeout: 1000 } }, {})).toThrow("--health-cmd");
  });

  test("a stop signal is a number; an image's nonsense is SIGTERM", () => {
    expect(labels()["berth/stop-signal"]).toBe("3");
    expect(labels({ stopSignal: "KILL" })["berth/stop-signal"]).toBe("9");
    expect(labels({}, { StopSignal: "WHAT" })["berth/stop-signal"]).toBe("15");
    expect(() => labels({ stopSignal: "WHAT" })).toThrow("there is no signal");
  });
});

test("an image's configuration is read whatever it holds", () => {
  const read = imageDefaults({ config });
  expect(read.exposedPorts).toEqual(["80/tcp", "53/udp", "nonsense"]);
  expect(read.volumes).toEqual(["/data"]);
  for (const wrong of [undefined, null, [], "x", { Env: "x", Cmd: { a: 1 }, User: 7, Healthcheck: [], Volumes: 3 }]) {
    expect(imageDefaults({ config: wrong })).toMatchObject({ env: [], command: [], user: "", volumes: [] });
  }
});

describe("the URI of a log", () => {
  const uri = (options?: Parameters<typeof logUri>[3]) => logUri({ root: "/r", state: "/run/x" }, "ns", "c1", options);

  test("is JSON lines of bounded size unless told", () => {
    expect(uri()).toBe("file:///r/logs/ns/c1/c1.log?format=json&max-size=10485760&max-file=3");
    expect(uri({ driver: "ring" })).toStartWith("file:///run/x/logs/ns/c1/c1.log?format=json");
    expect(uri({ driver: "none" })).toBe("");
    expect(uri({ driver: "raw", uri: "binary:///bin/x" })).toBe("binary:///bin/x");
    expect(() => uri({ driver: "raw", uri: "http://x" })).toThrow("log URI");
    expect(() => uri({ driver: "json", maxSize: 1 })).toThrow("4k at least");
  });

  test("names its file", () => {
    expect(logFileOf(uri())).toEqual({ path: "/r/logs/ns/c1/c1.log", format: "json" });
    expect(logFileOf("file:///a%20b")).toEqual({ path: "/a b", format: "raw" });
    expect(logFileOf("binary:///x")).toBeUndefined();
    expect(logFileOf("")).toBeUndefined();
  });
});

describe("what is asked of the network", () => {
  const ask = (options: Partial<RunOptions> = {}) =>
    networkOptions("ns", "web", options, "berth", ["80/tcp", "53/udp"]);

  test("the default one, or those that are named", () => {
    expect(ask().request.networks).toEqual([{ name: "berth", aliases: [] }]);
    expect(ask({ networks: [{ name: "a" }] }).request.networks.map(({ name }) => name)).toEqual(["a"]);
    expect(ask({ networkMode: "host" })).toMatchObject({ mode: "host", request: { networks: [] } });
    expect(() => ask({ networkMode: "bridge!" })).toThrow("host, none or container:ID");
    expect(() => ask({ networkMode: "host", networks: [{ name: "a" }] })).toThrow("at once");
  });

  test("ports; all that the image exposes when that is asked for, and not twice", () => {
    const ports = [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }] as const;
    expect(ask({ ports }).request.ports).toHaveLength(1);
    expect(ask({ ports, publishAll: true }).request.ports.map((port) => port.containerPort)).toEqual([80, 53]);
    expect(() => ask({ ports, networkMode: "none" })).toThrow("has no meaning");
  });

  test("the host name of the container whose network is shared, unless one is given", () => {
    const root = mkdtempSync(join(tmpdir(), "berth-shared-"));
    try {
      prepareFiles({ namespace: "ns", id: "db", mode: "cni", request: ask({ hostname: "data" }).request }, { root });
      const shared = { networkMode: "container:db" };
      expect(sharedHostname({ root }, "ns", shared)).toEqual({ hostname: "data" });
      expect(sharedHostname({ root }, "ns", { ...shared, hostname: "mine" })).toEqual({});
      expect(sharedHostname({ root }, "ns", { ...shared, uts: "host" })).toEqual({});
      expect(sharedHostname({ root }, "other", shared)).toEqual({});
      expect(sharedHostname({ root }, "ns", { networkMode: "host" })).toEqual({});
      expect(() => sharedHostname({ root }, "ns", { networkMode: "container:../x" })).toThrow("network of a container");
      writeFileSync(join(root, "containers/ns/db/hostname"), "no name\n");
      expect(sharedHostname({ root }, "ns", shared)).toEqual({});
    } finally {
      rmSync(root, { recursive: true });
    }
  });

  test("hosts, also of IPv6", () => {
    expect(
      ask({ extraHosts: ["a:10.0.0.1", "b:[fd00::1]", "c:fd00::2", "d:host-gateway"] }).request.extraHosts,
    ).toEqual([
      { name: "a", ip: "10.0.0.1" },
      { name: "b", ip: "fd00::1" },
      { name: "c", ip: "fd00::2" },
      { name: "d", ip: "host-gateway" },
    ]);
    expect(() => ask({ extraHosts: ["nothing"] })).toThrow("NAME:ADDRESS");
  });
});

test("a name is made of the image's", () => {
  expect(generatedName("docker.io/library/alpine:latest")).toMatch(/^alpine-[0-9a-f]{4}$/);
  expect(generatedName("r.io/a/My_App.x@sha256:00")).toMatch(/^My-App-x-[0-9a-f]{4}$/);
  expect(generatedName(":")).toMatch(/^container-[0-9a-f]{4}$/);
});
