/** The CNI client against plugins that note how they were called. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseConf } from "../../../../supervisor/network/cni/conf.ts";
import { readNetworks } from "../../../../supervisor/network/cni/directory.ts";
import { add, check, del, gc, status } from "../../../../supervisor/network/cni/network.ts";
import { addressesOf } from "../../../../supervisor/network/cni/result.ts";
import { outcome } from "../../../lib/outcome.ts";

let dir = "";
const target = {
  ...{ containerId: "c1", netns: "/netns", ifName: "eth0", args: "IP=10.0.0.5" },
  capabilityArgs: { portMappings: [{ hostPort: 1 }], mac: "02:00:00:00:00:01" },
};

/** Appends command, environment and input to a log; answers a result with its name; fails when told to. */
const script = `#!/bin/sh
name=\${0##*/}
input=$(cat)
printf '%s\\t%s\\t%s\\n' "$name" "$CNI_COMMAND $CNI_CONTAINERID $CNI_NETNS $CNI_IFNAME $CNI_ARGS" "$input" >> "\${0%/*}/log"
[ "$CNI_COMMAND" = VERSION ] && { echo '{"supportedVersions":["0.4.0","1.0.0","1.1.0"]}'; exit; }
[ "$name" = "slow" ] && sleep 60
[ "$name $CNI_COMMAND" = "bad ADD" ] && { echo '{"code":11,"msg":"not now","details":"busy"}'; exit 1; }
[ "$name" = "mute" ] && { echo broken >&2; exit 3; }
[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.5/24","gateway":"10.0.0.1"}],"by":"'$name'"}'
exit 0
`;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "berth-cni-"));
  for (const name of ["one", "two", "bad", "mute", "slow"]) {
    writeFileSync(join(dir, name), script);
    chmodSync(join(dir, name), 0o755);
  }
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

interface Called {
  readonly plugin: string;
  readonly call: string;
  readonly config: Record<string, unknown>;
}

function called(): Called[] {
  const lines = readFileSync(join(dir, "log"), "utf8").trimEnd().split("\n");
  rmSync(join(dir, "log"));
  return lines.map((line) => {
    const [plugin = "", call = "", config = ""] = line.split("\t");
    return { plugin, call, config: JSON.parse(config) as Record<string, unknown> };
  });
}

const network = (cniVersion: string, ...plugins: Record<string, unknown>[]) =>
  parseConf(JSON.stringify({ name: "net", cniVersion, plugins }), true);

describe("a network's verbs", () => {
  test("ADD chains results, and gives values to the plugins that have the capability alone", async () => {
    const conf = network("1.0.0", { type: "one", capabilities: { mac: true } }, { type: "two", x: 1 });
    const kept: unknown[] = [];
    const result = await add(conf, target, { dirs: [dir] }, (one) => kept.push(one["by"]));
    expect(result["by"]).toBe("two");
    expect(kept).toEqual(["one", "two"]);
    expect(addressesOf(result)).toEqual([{ ip: "10.0.0.5", bits: 24, gateway: "10.0.0.1" }]);
    const [first, second] = called();
    expect(first?.call).toBe("ADD c1 /netns eth0 IP=10.0.0.5");
    expect(first?.config).toMatchObject({
      name: "net",
      cniVersion: "1.0.0",
      runtimeConfig: { mac: "02:00:00:00:00:01" },
    });
    expect(first?.config["prevResult"]).toBeUndefined();
    expect(second?.config).toMatchObject({ x: 1, prevResult: { by: "one" } });
    expect(second?.config["runtimeConfig"]).toBeUndefined();
  });

  test("DEL runs in reverse with the last result, from 0.4.0 on, and goes on after a failure", async () => {
    const result = { by: "two" };
    await del(network("0.4.0", { type: "one" }, { type: "two" }), target, { dirs: [dir] }, result);
    expect(called().map(({ plugin, config }) => [plugin, config["prevResult"]])).toEqual([
      ["two", result],
      ["one", result],
    ]);
    await del(network("0.3.1", { type: "one" }), target, { dirs: [dir] }, result);
    expect(called()[0]?.config["prevResult"]).toBeUndefined();
    const failing = del(network("1.0.0", { type: "one" }, { type: "mute" }), target, { dirs: [dir] }, result);
    expect(await outcome(failing)).toThrow("network net: plugin mute failed at DEL: it ended with status 3: broken");
    expect(called().map(({ plugin }) => plugin)).toEqual(["mute", "one"]);
  });

  test("CHECK asks all in order, unless the network has none or wants none", async () => {
    await check(network("0.4.0", { type: "one" }, { type: "two" }), target, { dirs: [dir] }, { by: "x" });
    expect(called().map(({ plugin, call }) => `${plugin} ${call.split(" ")[0]}`)).toEqual(["one CHECK", "two CHECK"]);
    expect(await outcome(check(network("0.3.1", { type: "one" }), target, { dirs: [dir] }, {}))).toThrow(
      "has no CHECK",
    );
    await check({ ...network("1.0.0", { type: "mute" }), disableCheck: true }, target, { dirs: [dir] }, {});
  });

  test("GC is the plugins' own from 1.1.0 on", async () => {
    const valid = [{ containerID: "c1", ifname: "eth0" }];
    await gc(network("1.1.0", { type: "one" }), valid, { dirs: [dir] });
    const [call] = called();
    expect(call?.call).toStartWith("GC ");
    expect(call?.config["cni.dev/valid-attachments"]).toEqual(valid);
    await gc(network("1.0.0", { type: "mute" }), valid, { dirs: [dir] });
  });

  test("STATUS tells of plugins that are missing or too old, and asks them from 1.1.0 on", async () => {
    const conf = network("1.0.0", { type: "one", ipam: { type: "absent" } }, { type: "gone" });
    expect(await status(conf, { dirs: [dir] })).toEqual([
      `network net: plugin absent is in none of ${dir}: apt install containernetworking-plugins`,
      `network net: plugin gone is in none of ${dir}: apt install containernetworking-plugins`,
    ]);
    expect((await status(network("0.3.0", { type: "one" }), { dirs: [dir] }))[0]).toContain(
      "knows CNI up to 1.1.0, not 0.3.0",
    );
    called();
    expect(await status(network("1.1.0", { type: "one" }), { dirs: [dir] })).toEqual([]);
    expect(called().map(({ call }) => call.split(" ")[0])).toEqual(["VERSION", "STATUS"]);
  });

  test("a failure has the plugin's words, code and what helps", async () => {
    const failing = add(network("1.0.0", { type: "bad" }), target, { dirs: [dir] });
    expect(await outcome(failing)).toThrow("network net: plugin bad failed at ADD: not now: busy: try again later");
  });

  test("a plugin that hangs is ended, with what it started", async () => {
    const begun = performance.now();
    const late = add(network("1.0.0", { type: "slow" }), target, { dirs: [dir], timeoutMs: 300 });
    expect(await outcome(late)).toThrow("it did not answer in 0.3 s");
    expect(performance.now() - begun).toBeLessThan(30_000);
  });
});

describe("configurations", () => {
  test.each([
    ["not JSON", "{"],
    ['"name" is missing', "{}"],
    ["may have letters", `{"name":"../x","plugins":[{"type":"a"}]}`],
    ['"plugins" is missing', `{"name":"x"}`],
    ['"plugins" is empty', `{"name":"x","plugins":[]}`],
    ["is no name of a program", `{"name":"x","plugins":[{"type":"../../bin/sh"}]}`],
    ["is no version", `{"name":"x","cniVersion":"one","plugins":[{"type":"a"}]}`],
    ["is not known", `{"name":"x","cniVersion":"9.0.0","plugins":[{"type":"a"}]}`],
    ["is neither true nor false", `{"name":"x","disableCheck":1,"plugins":[{"type":"a"}]}`],
    ['"capabilities" is no object', `{"name":"x","plugins":[{"type":"a","capabilities":[]}]}`],
  ])("are refused: %s", (reason, text) => {
    expect(() => parseConf(text, true)).toThrow(reason);
  });

  test("have the latest version that both sides know", () => {
    const text = JSON.stringify({
      name: "x",
      cniVersion: "0.4.0",
      cniVersions: ["1.0.0", "9.9.9"],
      plugins: [{ type: "a" }],
    });
    expect(parseConf(text, true).cniVersion).toBe("1.0.0");
  });

  test("are read in the order of their names; what is wrong is told and left out", () => {
    const confs = join(dir, "net.d");
    const good = (name: string) => JSON.stringify({ name, plugins: [{ type: "one" }] });
    mkdirSync(join(confs, "30-dir.conflist"), { recursive: true });
    writeFileSync(join(confs, "20-b.conflist"), good("b"));
    writeFileSync(join(confs, "10-a.conf"), JSON.stringify({ name: "a", type: "one" }));
    writeFileSync(join(confs, "40-again.conflist"), good("b"));
    writeFileSync(join(confs, "50-broken.conflist"), "nonsense");
    writeFileSync(join(confs, "60-not.txt"), "nonsense");
    const { networks, bad } = readNetworks(confs);
    expect(networks.map(({ name }) => name)).toEqual(["a", "b"]);
    expect(bad.map(({ path, problem }) => `${path.slice(confs.length + 1)} ${problem}`)).toEqual([
      "30-dir.conflist not a file",
      `40-again.conflist network b is in ${join(confs, "20-b.conflist")} already`,
      expect.stringContaining("50-broken.conflist not JSON"),
    ]);
    expect(readNetworks(join(dir, "none"))).toEqual({ networks: [], bad: [] });
  });
});
