/** `berth system info` and `berth version`: the daemon and the machine it runs on. */

import { existsSync, readFileSync } from "node:fs";
import { arch, cpus, hostname, release } from "node:os";
import manifest from "../../../package.json" with { type: "json" };
import { messageOf } from "../../../proto/errdefs.ts";
import { GrpcClient } from "../../client/grpc.ts";
import { listImages } from "../../client/images.ts";
import type { Connection } from "../connect.ts";
import { shown, shownJson } from "../output/escape.ts";
import { fill, type Item } from "../output/list.ts";
import { binarySize } from "../output/size.ts";
import { print } from "../output/terminal.ts";
import { containersOf } from "./containers.ts";
import { readNode } from "./node.ts";
import { runtimeVersions } from "./runtimes.ts";
import { type ServerView, serverOf } from "./server.ts";

/** The kind of control groups that the machine has. */
export function cgroupVersion(): 1 | 2 {
  return existsSync("/sys/fs/cgroup/cgroup.controllers") ? 2 : 1;
}

/** The name of the distribution. */
export function distribution(): string {
  try {
    return /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync("/etc/os-release", "utf8"))?.[1] ?? "unknown";
  } catch {
    return "unknown";
  }
}

/** Prints what daemon and machine are. @throws CallError */
export async function info({ api, namespace, address }: Connection, format?: string): Promise<void> {
  const [server, containers, images, runtimes, { namespaces }] = await Promise.all([
    serverOf(api),
    containersOf(api, namespace),
    listImages(api, namespace),
    runtimeVersions(),
    api.call("containerd.services.namespaces.v1.Namespaces", "List", {}),
  ]);
  const node = readNode(server.root);
  const count = (status: string): number => containers.filter((one) => one.status === status).length;
  const item: Item = {
    Server: server.isBerthd ? "berthd" : "containerd",
    ServerVersion: server.version,
    Address: address,
    ID: server.uuid,
    ServerPid: server.pid,
    RootDir: server.root ?? "",
    Namespace: namespace,
    Namespaces: namespaces.map(({ name }) => name ?? ""),
    Containers: containers.length,
    ContainersRunning: count("running"),
    ContainersPaused: count("paused"),
    ContainersRestarting: count("restarting"),
    ContainersStopped: count("stopped") + count("created"),
    Images: images.length,
    Snapshotters: server.snapshotters,
    Runtimes: runtimes.map(({ name, version }) => `${name} ${version}`),
    CgroupVersion: String(cgroupVersion()),
    KernelVersion: release(),
    OperatingSystem: distribution(),
    OSType: "linux",
    Architecture: arch(),
    NCPU: cpus().length,
    MemTotal: node.memory.total,
    Name: hostname(),
  };
  if (format === "json") return print(`${shownJson(item)}\n`);
  if (format !== undefined) return print(`${fill(format, item)}\n`);
  const lines: (readonly [string, string])[] = [
    ["Server", `${item["Server"]} ${server.version}`],
    ["Address", address],
    ["Root", server.root ?? "unknown"],
    ["Namespace", `${namespace} (of ${(item["Namespaces"] as string[]).join(", ")})`],
    [
      "Containers",
      `${containers.length}: ${count("running")} running, ${count("paused")} paused, ${count("restarting")} restarting, ${item["ContainersStopped"]} stopped`,
    ],
    ["Images", String(images.length)],
    ["Snapshotters", server.snapshotters.join(", ")],
    [
      "Runtimes",
      runtimes.length > 0
        ? runtimes.map(({ name, version }) => `${name} ${version}`).join(", ")
        : "none found: install runc",
    ],
    ["Cgroups", `version ${cgroupVersion()}`],
    ["Kernel", release()],
    ["System", distribution()],
    ["Architecture", arch()],
    ["CPUs", String(cpus().length)],
    ["Memory", binarySize(node.memory.total)],
    ["Host", hostname()],
  ];
  await print(lines.map(([name, value]) => `${`${name}:`.padEnd(15)}${shown(value)}\n`).join(""));
}

/** How long a daemon may take to say its version. */
const VERSION_MS = 5000;

/** Prints the versions of client, daemon and runtimes; where no daemon answers, of those that there are. */
export async function versions(address: string, format?: string): Promise<void> {
  const [runtimes, server] = await Promise.all([runtimeVersions(), askServer(address)]);
  const item: Item = {
    Client: { Name: "berth", Version: manifest.version, Bun: Bun.version, Arch: arch(), KernelVersion: release() },
    Server: "problem" in server ? null : { Name: nameOf(server), Version: server.version, Revision: server.revision },
    Runtimes: runtimes,
  };
  if (format === "json") return print(`${shownJson(item)}\n`);
  if (format !== undefined) return print(`${fill(format, item)}\n`);
  const lines = [`berth ${manifest.version}`, `  Bun:      ${Bun.version}`, `  Kernel:   ${release()} ${arch()}`];
  if ("problem" in server) lines.push(`daemon: none at ${address} (${shown(server.problem)})`);
  else {
    lines.push(`${nameOf(server)} ${shown(server.version)}`, `  Address:  ${address}`);
    if (server.revision !== "") lines.push(`  Revision: ${shown(server.revision)}`);
  }
  for (const runtime of runtimes)
    lines.push(`${runtime.name} ${shown(runtime.version)}`, `  Path:     ${runtime.path}`);
  await print(`${lines.join("\n")}\n`);
}

function nameOf({ isBerthd }: ServerView): string {
  return isBerthd ? "berthd" : "containerd";
}

async function askServer(address: string): Promise<ServerView | { readonly problem: string }> {
  if (!existsSync(address)) return { problem: "there is no such socket" };
  const api = new GrpcClient(address, { deadlineMs: VERSION_MS });
  try {
    return await serverOf(api);
  } catch (error) {
    return { problem: messageOf(error) };
  } finally {
    api.close();
  }
}
