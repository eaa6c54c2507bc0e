/** Containers with networks, made by ctr as any client would make them. */

import { expect } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readAttachments } from "../../supervisor/network/attachments.ts";
import { addressesOf } from "../../supervisor/network/cni/result.ts";
import { readLeases } from "../../supervisor/network/leases.ts";
import { type NetworkPaths, networkPaths } from "../../supervisor/network/paths.ts";
import { prepareNetwork } from "../../supervisor/network/prepare.ts";
import type { NetworkRequest } from "../../supervisor/network/request.ts";
import type { NetworkMode } from "../../supervisor/network/spec.ts";
import type { Result } from "./command.ts";
import type { Daemon } from "./daemon.ts";
import type { Netns, NetnsBerthd } from "./netns.ts";
import { dist, runtime } from "./paths.ts";
import { writeSpec } from "./spec.ts";
import { waitFor } from "./wait.ts";

/** How a container is made. */
export interface NetworkedOptions {
  readonly request?: Partial<NetworkRequest>;
  readonly mode?: NetworkMode;
  readonly labels?: Readonly<Record<string, string>>;
  /** Throw when it does not start; true unless told. */
  readonly check?: boolean;
}

/** A shell that waits for ever, and ends at once when it is told to. */
export const idle = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"];

/** The places of a daemon of the tests. */
export function pathsOf(daemon: Daemon): NetworkPaths {
  return networkPaths(daemon.root);
}

/** Makes a container and starts it. @throws CommandError */
export async function runNetworked(
  daemon: Daemon,
  id: string,
  command: readonly string[],
  { request = {}, mode = "cni", labels = {}, check = true }: NetworkedOptions = {},
): Promise<Result> {
  const paths = pathsOf(daemon);
  const full = { networks: [{ name: paths.defaultNetwork }], ports: [], hostname: id, ...request };
  const made = await prepareNetwork(paths, { namespace: daemon.namespace, id, mode, request: full });
  made.makeFiles();
  const config = await writeSpec(daemon, id, command, (spec) => {
    spec.mounts.push(...made.mounts);
    const more = spec as unknown as Record<string, unknown>;
    more["hooks"] = JSON.parse(JSON.stringify(made.hooks).replaceAll(hookPath, join(dist, "berth")));
    more["hostname"] = id;
    spec.annotations = { ...spec.annotations, ...made.annotations };
    const others = spec.linux.namespaces.filter(({ type }) => type !== "network");
    spec.linux.namespaces = [...others, ...made.namespaces];
  });
  const flags = Object.entries({ ...made.labels, ...labels }).flatMap(([name, value]) => [
    "--label",
    `${name}=${value}`,
  ]);
  return daemon.ctr(["run", "--runtime", runtime, "--config", config, "--detach", "--null-io", ...flags, id], {
    check,
    timeout: 60_000,
  });
}

/** From sources, hooks are the executable that is built here; BERTH_TEST_DIST may name another. */
const hookPath = join(import.meta.dir, "../../dist/berth");

/** Ends a container and removes it. */
export async function removeNetworked(daemon: Daemon, ...ids: readonly string[]): Promise<void> {
  for (const id of ids) {
    await daemon.ctr(["tasks", "delete", "--force", id]);
    await daemon.ctr(["containers", "delete", id], { check: true });
  }
}

/** The pid of a container's first process. */
export async function pidOf(daemon: Daemon, id: string): Promise<number> {
  const { stdout } = await daemon.ctr(["tasks", "ls"], { check: true });
  const row = stdout.split("\n").map((line) => line.trim().split(/\s+/));
  return Number(row.find((fields) => fields[0] === id)?.[1]);
}

/** The hosts of a container, as it sees them. */
export function hostsOf(daemon: Daemon, id: string): string {
  return readFileSync(join(pathsOf(daemon).root, "containers", daemon.namespace, id, "hosts"), "utf8");
}

/** A web server that says a word. */
export function serving(word: string): string[] {
  return [
    "sh",
    "-c",
    `busybox mkdir -p /tmp/www; echo ${word} > /tmp/www/index.html; exec busybox httpd -f -p 80 -h /tmp/www`,
  ];
}

/** The same on the host, out of a directory of the daemon's. */
function servingHere({ dir }: Daemon, word: string, port: number): string[] {
  const www = join(dir, "www");
  mkdirSync(www, { recursive: true });
  writeFileSync(join(www, "index.html"), `${word}\n`);
  return ["busybox", "httpd", "-f", "-p", String(port), "-h", www];
}

export const netnsOf = (daemon: Daemon): Netns => (daemon as NetnsBerthd).netns;

/** What a program says inside a container, by its namespaces alone. */
export async function inside(daemon: Daemon, id: string, argv: readonly string[]): Promise<string> {
  const { stdout } = await daemon.exec(id, argv, [], { check: true });
  return stdout.trim();
}

/** Gets a page. Debian's static busybox dies in wget, so its nc asks. */
export const getting = (host: string, port: number): string[] => [
  ...["busybox", "sh", "-c"],
  `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 3 ${host} ${port} | busybox tail -n 1`,
];

/** Gets a page from a container; a server that was just started may need a moment. */
export function fetched(daemon: Daemon, id: string, host: string, port = 80): Promise<string> {
  return waitFor(
    `${host}:${port} from ${id}`,
    async () => (await inside(daemon, id, getting(host, port))) || undefined,
  );
}

/** What a container gets from a server in another namespace, which runs for as long and says a word. */
export async function fetchedFrom(
  daemon: Daemon,
  id: string,
  { netns, host }: { readonly netns: Netns; readonly host: string },
  word: string,
): Promise<string> {
  const server = Bun.spawn(netns.command(servingHere(daemon, word, 7000)), { stdin: "ignore" });
  try {
    return await fetched(daemon, id, host, 7000);
  } finally {
    server.kill();
    await server.exited;
  }
}

/** Gets a page from a network namespace. */
export function fetchedIn(netns: Netns, host: string, port: number): Promise<string> {
  return waitFor(`${host}:${port}`, async () => (await netns.run(getting(host, port))).stdout.trim() || undefined);
}

export function addressOf(daemon: Daemon, id: string, network = 0): string {
  const attachment = readAttachments(pathsOf(daemon)).find((one) => one.id === id);
  return addressesOf(attachment?.networks[network]?.result)[0]?.ip ?? "none";
}

/** Everything that is left of networks, but for bridges and chains that stay. */
export async function leftOf(daemon: Daemon): Promise<Record<string, unknown>> {
  const paths = pathsOf(daemon);
  const nat = (await netnsOf(daemon).run(["iptables", "-t", "nat", "-S"])).stdout;
  const links = (await netnsOf(daemon).run(["ip", "-o", "link"])).stdout;
  const leases = join(paths.run, "leases");
  return {
    attachments: readAttachments(paths).length,
    leases: existsSync(leases) ? readdirSync(leases).flatMap((name) => readLeases(join(leases, name))) : [],
    rules: nat.split("\n").filter((line) => line.includes("berth-") || line.includes("CNI-DN")),
    veths: links.split("\n").filter((line) => line.includes("veth")),
    pins: existsSync(join(paths.run, "netns")) ? readdirSync(join(paths.run, "netns")) : [],
  };
}

export const nothing = { attachments: 0, leases: [], rules: [], veths: [], pins: [] };

/** Waits for a promise to be rejected with a text in its message. */
export async function expectError(promise: Promise<unknown>, text: string): Promise<void> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(String(error)).toContain(text);
}
