/** What the network puts into an OCI spec. */

import { describe, expect, test } from "bun:test";
import { defaultSettings } from "../../../../supervisor/network/paths.ts";
import { networkSpec } from "../../../../supervisor/network/spec.ts";

const paths = { ...defaultSettings, root: "/var/lib/berth/network" };
const request = { networks: [{ name: "berth" }], ports: [], hostname: "web" };
const container = { namespace: "default", id: "web", request };

describe("the network of a spec", () => {
  test("has hooks that name the root, and its own files", () => {
    const { hooks, mounts, namespaces, annotations, labels } = networkSpec({ ...container, mode: "cni" }, paths);
    const [add] = hooks.createRuntime ?? [];
    expect(add?.path).toStartWith("/");
    expect(add?.args).toEqual(["berth", "network-hook", "add", "--root", "/var/lib/berth", "--namespace", "default"]);
    expect(hooks.poststop?.[0]?.args[2]).toBe("del");
    expect(mounts.map(({ destination }) => destination)).toEqual(["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"]);
    expect(mounts[0]?.source).toBe("/var/lib/berth/network/containers/default/web/hosts");
    expect(namespaces).toEqual([{ type: "network" }]);
    expect(annotations).toEqual({ "berth/network": JSON.stringify(request) });
    expect(labels).toEqual(annotations);
  });

  test.each([
    ["host", []],
    ["none", [{ type: "network" }]],
    ["container:db", [{ type: "network", path: "/run/berth/network/netns/default/db" }]],
  ] as const)("of mode %s needs no hooks", (mode, namespaces) => {
    const spec = networkSpec({ ...container, mode }, paths);
    expect(spec.hooks).toEqual({});
    expect(spec.namespaces).toEqual([...namespaces]);
  });

  test("of another container has that container's names", () => {
    const { mounts } = networkSpec({ ...container, mode: "container:db" }, paths);
    expect(mounts[0]?.source).toBe("/var/lib/berth/network/containers/default/db/hosts");
  });

  test("takes no id that leaves the directory", () => {
    expect(() => networkSpec({ ...container, id: "../../x", mode: "cni" }, paths)).toThrow("neither a namespace");
    expect(() => networkSpec({ ...container, mode: "container:.." }, paths)).toThrow("neither a namespace");
  });
});
