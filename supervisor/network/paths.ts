/**
 * Where the network room keeps what. Everything follows from the daemon's root: the daemon writes what else is configured
 * into settings.json there, so that the hook and the command find it without asking anybody; without a daemon the
 * defaults hold.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { invalidArgument } from "../../proto/errdefs.ts";
import { writeDurably } from "../store/file.ts";

/** What `[network]` of the configuration says, and where the daemon's state is. */
export interface NetworkSettings {
  /** What the kernel forgets with a reboot, and we with it: attachments, results, leases, locks. */
  readonly run: string;
  /** Where conflists are. */
  readonly confDir: string;
  /** Where plugins are looked for, in order. */
  readonly pluginDirs: readonly string[];
  /** The network of containers that name none. */
  readonly defaultNetwork: string;
  /** Rules that are the same for all containers of a network are made once, and not by plugins for each. */
  readonly sharedRules: boolean;
  /** Ranges out of which new networks get a subnet. */
  readonly pools: readonly string[];
}

/** All places. */
export interface NetworkPaths extends NetworkSettings {
  /** `<root>/network`: the files of containers, which their specs name. */
  readonly root: string;
}

/** The daemon's root when nothing else is said. */
export const defaultRoot = "/var/lib/berth";

export const defaultSettings: NetworkSettings = {
  run: "/run/berth/network",
  confDir: "/etc/cni/net.d",
  pluginDirs: ["/usr/lib/cni", "/opt/cni/bin"],
  defaultNetwork: "berth",
  sharedRules: true,
  pools: ["10.210.0.0/16", "172.30.0.0/16", "192.168.192.0/18"],
};

/**
 * The places of the network room of a daemon.
 * @param root the daemon's root
 */
export function networkPaths(root: string = defaultRoot): NetworkPaths {
  const own = join(root, "network");
  const run = root === defaultRoot ? defaultSettings.run : join(own, "run");
  return { root: own, ...defaultSettings, run, ...readSettings(own) };
}

/** Tells hooks and commands what is configured. Written only when it is not what is there. */
export function writeSettings(root: string, settings: NetworkSettings): void {
  const path = settingsPath(join(root, "network"));
  const { run, confDir, pluginDirs, defaultNetwork, sharedRules, pools } = settings;
  const text = `${JSON.stringify({ run, confDir, pluginDirs, defaultNetwork, sharedRules, pools }, undefined, 2)}\n`;
  if (readIfThere(path) !== text) writeDurably(path, text, 0o644);
}

/** Files that each container has, mounted at /etc. */
export const fileNames: readonly string[] = ["hosts", "hostname", "resolv.conf"];

/**
 * The executable that hooks are run by.
 * @throws never: from sources it is the one that the build makes
 */
export function hookExecutable(): string {
  return import.meta.dir.startsWith("/$bunfs") ? process.execPath : join(import.meta.dir, "../../dist/berth");
}

/** Directory of a container's hosts, hostname and resolv.conf. */
export function containerDir({ root }: Pick<NetworkPaths, "root">, namespace: string, id: string): string {
  return join(root, "containers", part(namespace), part(id));
}

/** Where a container's attachment is on record. */
export function attachmentPath({ run }: Pick<NetworkPaths, "run">, namespace: string, id: string): string {
  return join(run, "attachments", part(namespace), `${part(id)}.json`);
}

/** Where a container's network namespace is mounted, so that it outlives its processes until it is released. */
export function netnsPath({ run }: Pick<NetworkPaths, "run">, namespace: string, id: string): string {
  return join(run, "netns", part(namespace), part(id));
}

/** A name of a client's that is safe as a part of a path. @throws ContainerdError InvalidArgument */
function part(name: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,75}$/.test(name)) {
    throw invalidArgument(`${JSON.stringify(name.slice(0, 80))} is neither a namespace nor a container's id`);
  }
  return name;
}

function settingsPath(own: string): string {
  return join(own, "settings.json");
}

function readSettings(own: string): Partial<NetworkSettings> {
  const text = readIfThere(settingsPath(own));
  if (text === undefined) return {};
  try {
    return JSON.parse(text) as Partial<NetworkSettings>;
  } catch {
    // A torn file is as none: the daemon writes it anew.
    return {};
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
