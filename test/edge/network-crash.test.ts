/** Networks after crashes: what nobody released is collected, and what a reboot leaves. */

import { expect } from "bun:test";
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { unmountRecursive } from "../../shim/linux/index.ts";
import { readAttachment, readAttachments, saveAttachment } from "../../supervisor/network/attachments.ts";
import { readLeases } from "../../supervisor/network/leases.ts";
import { networkPaths } from "../../supervisor/network/paths.ts";
import { run } from "../lib/command.ts";
import type { Daemon } from "../lib/daemon.ts";
import { makeNetnsBerthd, Netns, type NetnsBerthd, whyNoNetworks } from "../lib/netns.ts";
import {
  addressOf,
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
} from "../lib/network.ts";
import { dist } from "../lib/paths.ts";
import { readProcess } from "../lib/process.ts";
import { containerSuite } from "../lib/suite.ts";
import { waitFor } from "../lib/wait.ts";

const suite = containerSuite({}, makeNetnsBerthd);
const skip = whyNoNetworks();
const ports = [{ hostPort: 8080, containerPort: 80, protocol: "tcp" as const }];

const berth = (daemon: Daemon, ...args: string[]) =>
  netnsOf(daemon).run([join(dist, "berth"), "-a", daemon.address, "-n", daemon.namespace, ...args], { check: false });

/** The pid of a container's shim: its first process's parent. */
async function shimOf(daemon: Daemon, id: string): Promise<number> {
  return readProcess(await pidOf(daemon, id))?.ppid ?? 0;
}

async function killAll(daemon: Daemon, id: string): Promise<void> {
  const [pid, shim] = [await pidOf(daemon, id), await shimOf(daemon, id)];
  await daemon.kill();
  // The shim first, so that nobody runs hooks.
  for (const one of [shim, pid]) process.kill(one, "SIGKILL");
  await waitFor("the container to end", () => [undefined, "Z"].includes(readProcess(pid)?.state));
}

suite.test(
  "everything is released after SIGKILL of daemon, shim and container",
  async ({ daemon, id }) => {
    const one = id();
    await runNetworked(daemon, one, idle, { request: { ports } });
    expect(readAttachments(pathsOf(daemon))).toHaveLength(1);
    await killAll(daemon, one);
    // Its namespace is still there, and so are its address and its rules.
    expect(await leftOf(daemon)).not.toEqual(nothing);
    await daemon.start();
    await waitFor("the network to be released", async () => Bun.deepEquals(await leftOf(daemon), nothing), {
      timeout: 20_000,
    });
    await removeNetworked(daemon, one);
  },
  { skip, timeout: 60_000 },
);

suite.test(
  "everything is released after SIGKILL of the shim alone, and the port is free for the next",
  async ({ daemon, id }) => {
    const [one, two] = [id(), id()];
    await runNetworked(daemon, one, idle, { request: { ports } });
    process.kill(await shimOf(daemon, one), "SIGKILL");
    await waitFor("the network to be released", async () => Bun.deepEquals(await leftOf(daemon), nothing), {
      timeout: 20_000,
    });
    await runNetworked(daemon, two, idle, { request: { ports } });
    await removeNetworked(daemon, one, two);
    expect(await leftOf(daemon)).toEqual(nothing);
  },
  { skip, timeout: 60_000 },
);

suite.test(
  "addresses of a time before a reboot are released, where plugins keep them on disk",
  async ({ daemon, id }) => {
    const one = id();
    const { confDir } = daemon as NetnsBerthd;
    const leases = join(daemon.dir, "cni-leases");
    const ipam = { type: "host-local", dataDir: leases, ranges: [[{ subnet: "10.88.0.0/24" }]] };
    const plugins = [{ type: "bridge", bridge: "own0", isGateway: true, ipam }];
    writeFileSync(join(confDir, "10-own.conflist"), JSON.stringify({ cniVersion: "0.4.0", name: "own", plugins }));
    await runNetworked(daemon, one, idle, { request: { networks: [{ name: "own" }] } });
    expect(readLeases(join(leases, "own"))).toHaveLength(1);
    // Another runtime's address is none of ours.
    writeFileSync(join(leases, "own", "10.88.0.99"), "0123456789abcdef\r\neth0");
    await killAll(daemon, one);
    unmountRecursive(daemon.state);
    rmSync(daemon.state, { recursive: true, force: true });
    mkdirSync(daemon.state);
    await daemon.start();
    await waitFor("the lease to be released", () => readLeases(join(leases, "own")).length === 1);
    expect(readdirSync(join(leases, "own"))).toContain("10.88.0.99");
    // What a reboot would have taken, too.
    await run(["runc", "--root", `/run/containerd/runc/${daemon.namespace}`, "delete", "--force", one], {
      check: true,
    });
    rmSync(daemon.socketPath(one), { force: true });
    await daemon.ctr(["containers", "delete", one]);
    rmSync(join(confDir, "10-own.conflist"));
    await waitFor("its interfaces to go", async () => {
      const { stdout } = await netnsOf(daemon).run(["ip", "-o", "link"]);
      return !stdout.includes("veth");
    });
  },
  { skip, timeout: 60_000 },
);

suite.test(
  "plugins make all rules where they are asked to, and none is left when the namespace is gone before them",
  async ({ daemon, id }) => {
    const one = id();
    const own = daemon as NetnsBerthd;
    own.network = "shared_rules = false";
    await daemon.restart();
    await runNetworked(daemon, one, idle, { request: { ports } });
    const { stdout } = await own.netns.run(["iptables-save"]);
    expect(stdout).toContain(`-s ${addressOf(daemon, one)}/32 -j ACCEPT`);
    expect(stdout).toMatch(/ -m comment --comment "name: .* -j MASQUERADE/);
    const paths = pathsOf(daemon);
    await killAll(daemon, one);
    unmountRecursive(join(paths.run, "netns"));
    own.network = "";
    await daemon.start();
    await waitFor("the network to be released", async () => Bun.deepEquals(await leftOf(daemon), nothing), {
      timeout: 20_000,
    });
    expect((await own.netns.run(["iptables-save"])).stdout).not.toContain("name: ");
    await removeNetworked(daemon, one);
  },
  { skip, timeout: 60_000 },
);

suite.test(
  "an attachment of another boot is released, whoever has its pid by now",
  async ({ daemon, id }) => {
    const one = id();
    await runNetworked(daemon, one, idle);
    const paths = pathsOf(daemon);
    const attachment = readAttachment(paths, daemon.namespace, one);
    if (attachment === undefined) throw new Error("it is not on record");
    await daemon.kill();
    saveAttachment(paths, { ...attachment, bootId: "another" });
    await daemon.start();
    await waitFor("it to be released", () => readAttachments(paths).length === 0);
    await removeNetworked(daemon, one);
    expect(await leftOf(daemon)).toEqual(nothing);
  },
  { skip, timeout: 60_000 },
);

suite.test(
  "a container that the restart monitor starts again has a network, and others find it",
  async ({ daemon, id }) => {
    const [one, peer] = [id(), id()];
    await runNetworked(daemon, peer, idle);
    await runNetworked(daemon, one, idle, {
      request: { ports },
      labels: { "containerd.io/restart.status": "running", "containerd.io/restart.policy": "always" },
    });
    const before = await pidOf(daemon, one);
    process.kill(before, "SIGKILL");
    await waitFor("the restart", async () => ![before, 0].includes((await pidOf(daemon, one)) || 0), {
      timeout: 30_000,
    });
    await waitFor(
      "its network",
      () => (readAttachment(pathsOf(daemon), daemon.namespace, one)?.pid ?? before) !== before,
    );
    expect(hostsOf(daemon, peer)).toContain(`${addressOf(daemon, one)}\t${one}\n`);
    expect(await inside(daemon, one, ["cat", "/etc/hosts"])).toContain(`\t${peer}\n`);
    await daemon.ctr(["containers", "label", one, "containerd.io/restart.status=stopped"], { check: true });
    await removeNetworked(daemon, one, peer);
    expect(await leftOf(daemon)).toEqual(nothing);
  },
  { skip, timeout: 60_000 },
);

suite.test(
  "network check finds an interface that was taken away, rules that were flushed, and nothing when all is well",
  async ({ daemon, id }) => {
    const one = id();
    await runNetworked(daemon, one, idle, { request: { ports } });
    const well = await berth(daemon, "network", "check");
    expect(well.stderr + well.stdout).toContain("1 containers attached: nothing wrong");
    await netnsOf(daemon).run(["iptables", "-t", "nat", "-F", "POSTROUTING"]);
    const flushed = await berth(daemon, "network", "check");
    expect(flushed.exitCode).toBe(1);
    expect(flushed.stdout).toContain("iptables has no rule in POSTROUTING of nat");
    await daemon.restart();
    await waitFor("the rules", async () => {
      const { stdout } = await berth(daemon, "network", "check");
      return !stdout.includes("BERTH-N-");
    });
    await run(["nsenter", `--net=/proc/${await pidOf(daemon, one)}/ns/net`, "ip", "link", "delete", "eth0"], {
      check: true,
    });
    const gone = await berth(daemon, "network", "check");
    expect(gone.exitCode).toBe(1);
    expect(gone.stdout).toContain(`${daemon.namespace}/${one}: network berth: plugin bridge failed at CHECK`);
    await removeNetworked(daemon, one);
    expect(await leftOf(daemon)).toEqual(nothing);
  },
  { skip, timeout: 60_000 },
);

suite.test(
  "network create, ls, inspect, rm and prune",
  async ({ daemon, id }) => {
    const one = id();
    expect(await berth(daemon, "network", "create", "--subnet", "10.66.0.0/24", "shop")).toMatchObject({
      stdout: "shop\n",
    });
    expect((await berth(daemon, "network", "create", "shop")).stderr).toContain("network shop is there already");
    expect((await berth(daemon, "network", "create", "--subnet", "10.66.0.128/25", "other")).stderr).toContain(
      "subnet 10.66.0.128/25 overlaps that of network shop",
    );
    await runNetworked(daemon, one, idle, { request: { networks: [{ name: "shop", aliases: ["till"] }] } });
    expect((await berth(daemon, "network", "ls")).stdout).toMatch(/^shop +bridge +10\.66\.0\.0\/24 +1 /m);
    const [shop] = JSON.parse((await berth(daemon, "network", "inspect", "shop")).stdout) as Record<string, unknown>[];
    expect(shop).toMatchObject({
      Name: "shop",
      Driver: "bridge",
      Containers: { [`${daemon.namespace}/${one}`]: { Aliases: ["till"] } },
    });
    const refused = await berth(daemon, "network", "rm", "shop");
    expect(refused.exitCode).toBe(1);
    expect(refused.stderr).toContain(
      `network shop is in use by container ${one} (${daemon.namespace}): remove it first`,
    );
    await removeNetworked(daemon, one);
    expect(await berth(daemon, "network", "rm", "shop")).toMatchObject({ exitCode: 0, stdout: "shop\n" });
    const { stdout } = await netnsOf(daemon).run(["ip", "-o", "link"]);
    expect(stdout).not.toMatch(/berth[0-9a-f]{10}/);
    expect((await netnsOf(daemon).run(["iptables-save"])).stdout).not.toContain("10.66.0.0");
    await berth(daemon, "network", "create", "idle");
    expect((await berth(daemon, "network", "prune", "-f")).stdout).toContain("network idle");
    expect((await berth(daemon, "network", "rm", "idle")).stderr).toContain("network idle is not in");
  },
  { skip, timeout: 60_000 },
);

suite.test(
  "without iptables and without plugins, the start says what to install",
  async ({ daemon }) => {
    const netns = await Netns.make();
    const top = join(daemon.dir, "hook");
    let calls = 0;
    const call = async (change: Record<string, unknown>, hide: string) => {
      const root = join(top, String(++calls));
      const settings = {
        run: join(root, "run"),
        confDir: join(root, "net.d"),
        pluginDirs: ["/usr/lib/cni"],
        ...change,
      };
      mkdirSync(join(root, "network"), { recursive: true });
      writeFileSync(join(root, "network/settings.json"), JSON.stringify(settings));
      const request = JSON.stringify({ networks: [{ name: "berth" }], ports: [], hostname: "x" });
      const state = JSON.stringify({ id: "x", pid: netns.pid, bundle: "/", annotations: { "berth/network": request } });
      // Its own mounts: the program is hidden from it alone.
      const script = `mount --bind /dev/null "$(readlink -f ${hide})" && exec ${join(dist, "berth")} network-hook add --root ${root}`;
      const { stderr, exitCode } = await outer.run(["unshare", "--mount", "sh", "-c", script], {
        ...{ stdin: state, check: false },
      });
      expect(exitCode).toBe(1);
      return { stderr, attachments: readAttachments(networkPaths(root)).length };
    };
    const outer = await Netns.make();
    try {
      const shared = await call({}, "/usr/sbin/iptables");
      expect(shared.stderr).toMatch(/^iptables is not installed, .*: apt install iptables\n$/);
      expect(shared.attachments).toBe(0);
      const own = await call({ sharedRules: false }, "/usr/sbin/iptables");
      expect(own.stderr).toMatch(
        /^network berth: plugin \w+ failed at ADD: .*iptables is not installed: apt install iptables\n$/,
      );
      const none = await call({ pluginDirs: [join(top, "none")] }, "/dev/zero");
      expect(none.stderr).toStartWith("network berth: plugin bridge is in none of");
      expect(none.stderr).toEndWith(": apt install containernetworking-plugins\n");
      expect(none.attachments).toBe(0);
    } finally {
      await netns.end();
      await outer.end();
      unmountRecursive(top);
      rmSync(top, { recursive: true, force: true });
    }
  },
  { skip, timeout: 60_000 },
);
