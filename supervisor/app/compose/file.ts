/**
 * An application out of a text in Compose's schema: what `berth apply` is given and what lies in the watched directory.
 * Pure but for the files that the text names, which are read by what the caller gives.
 */

import { basename, dirname, join } from "node:path";
import type { Application, AppNetwork, AppVolume, Service } from "../model.ts";
import { parseDotenv } from "./dotenv.ts";
import type { Lookup } from "./interpolate.ts";
import { hostPath, type Places } from "./mounts.ts";
import { type MapNode, type Node, nodeAt, nodeName, type Place } from "./node.ts";
import { ordered } from "./order.ts";
import { ComposeError, type Problem, Problems } from "./problem.ts";
import { flag, list, mapOf, matching, object, oneOf, type Reader, text } from "./reader.ts";
import { serviceFields } from "./service.ts";
import { type Shared, serviceOf } from "./services.ts";
import { readTree } from "./tree.ts";

/** Where a text comes from. */
export interface Source {
  /** What its problems are reported for. */
  readonly file: string;
  /** What its paths are relative to, and where `.env` lies. An absolute path. */
  readonly directory: string;
  /** The environment: it wins over `.env`. */
  readonly environment: Lookup;
  /** Name of the application where the text has none; that of the file unless told. */
  readonly name?: string;
  /** The text of a file; undefined when there is none. @throws Error for what cannot be read, or is no file */
  readFile(path: string): string | undefined;
}

/** What was read. */
export interface Parsed {
  readonly application: Application;
  /** What has no effect, or is probably not meant. */
  readonly warnings: readonly Problem[];
  /** Files that it is made of beside the text: `.env`, env_file. */
  readonly files: readonly string[];
}

/** What applications and services may be called: containers' ids are made of both. */
const appName = /^[a-z0-9]+(?:[._-][a-z0-9]+)*$/;
const named = { pattern: nodeName, expected: "letters, digits, _ . -" };
const start: Place = { line: 1, column: 1 };

const subnet = matching(/^(?:\d{1,3}\.){3}\d{1,3}\/\d{1,2}$/, 'a subnet such as "172.30.0.0/24"');
const address = matching(/^(?:\d{1,3}\.){3}\d{1,3}$/, "an IPv4 address");
const ipamConfig = object({ subnet, gateway: address, ip_range: subnet }, {}, { aux_addresses: "" });
const network = object(
  {
    name: matching(nodeName, "a name"),
    external: flag,
    internal: flag,
    driver: oneOf("bridge"),
    ipam: object({ driver: oneOf("default"), config: list(ipamConfig, 1) }),
  },
  { enable_ipv6: "networks have IPv4 addresses alone" },
  { attachable: "", labels: "", driver_opts: "", enable_ipv4: "" },
);
const volume = object(
  { name: matching(nodeName, "a name"), external: flag, driver: oneOf("local") },
  { driver_opts: "mount it on the host, and name the path in the service" },
  { labels: "" },
);
const fileOnly = object(
  { file: text, name: text },
  {
    external: "berth keeps no secrets or configs: name a file",
    environment: "name a file",
    content: "write it into a file, and name that",
    template_driver: "name a file",
    driver: "name a file",
  },
  { labels: "" },
);

/** A definition that may be nothing but its key. */
function orNothing<T extends object>(reader: Reader<T>): Reader<T> {
  return (node, problems) => (node.kind === "null" ? ({} as T) : reader(node, problems));
}

/**
 * Reads a text.
 * @throws ComposeError with every problem and its place
 */
export function parseApplication(written: string, source: Source): Parsed {
  const problems = new Problems();
  const files: string[] = [];
  const environment = environmentOf(source, problems, files);
  const tree = readTree(written, environment, problems);
  const application = tree === undefined ? undefined : read(tree, { ...source, environment }, problems, files);
  if (application === undefined || !problems.isEmpty) {
    throw new ComposeError(
      source.file,
      problems.isEmpty ? [{ ...start, path: "", message: "nothing in it" }] : problems.found,
    );
  }
  return { application, warnings: problems.warnings, files };
}

/** The environment, and `.env` beside the file. */
function environmentOf(source: Source, problems: Problems, files: string[]): Lookup {
  const path = join(source.directory, ".env");
  files.push(path);
  try {
    const { values, problems: wrong } = parseDotenv(source.readFile(path) ?? "", source.environment);
    for (const { line, message } of wrong) problems.add(start, "", `${path}:${line}: ${message}`);
    return (name) => source.environment(name) ?? values.get(name) ?? undefined;
  } catch (error) {
    problems.add(start, "", `${path} cannot be read: ${(error as Error).message}`);
    return source.environment;
  }
}

function read(tree: Node, source: Source, problems: Problems, files: string[]): Application | undefined {
  if (tree.kind !== "map") return problems.add(tree.at, "", "expected a map with services");
  const places: Places = { directory: source.directory, home: source.environment("HOME") };
  const top = object(
    {
      name: matching(appName, "small letters and digits, with single . _ - between"),
      version: text,
      services: mapOf(serviceFields(places), {
        pattern: appName,
        expected: "small letters and digits, with single . _ - between",
      }),
      networks: mapOf(orNothing(network), named),
      volumes: mapOf(orNothing(volume), named),
      secrets: mapOf(fileOnly, named),
      configs: mapOf(fileOnly, named),
    },
    { include: "write it into one file, or make several applications" },
  )(tree, problems);
  if (top === undefined) return undefined;
  const name = nameOf(top.name, source, tree, problems);
  const servicesNode = nodeAt(tree, "services");
  if (servicesNode.kind !== "map" || servicesNode.entries.size === 0) {
    if (problems.isEmpty) problems.add(tree.at, "services", "there are no services: an application has one at least");
    return undefined;
  }
  const networks: Record<string, AppNetwork> = {};
  for (const [key, found] of top.networks ?? []) networks[key] = networkOf(name, key, found);
  if (networks["default"] === undefined) networks["default"] = networkOf(name, "default", {});
  const volumes: Record<string, AppVolume> = {};
  for (const [key, found] of top.volumes ?? []) {
    volumes[key] = {
      name: found.name ?? (found.external ? key : `${name}_${key}`),
      isExternal: found.external ?? false,
    };
  }
  const fileOf = (kind: "secrets" | "configs"): Map<string, string> => {
    const paths = new Map<string, string>();
    for (const [key, found] of top[kind] ?? []) {
      const at = nodeAt(nodeAt(tree, kind), key);
      const path = found.file === undefined ? undefined : hostPath(found.file, places);
      if (path === undefined) problems.add(at.at, at.path, "no file: a path of the host");
      else paths.set(key, path);
    }
    return paths;
  };
  const active = activeProfiles(source.environment("COMPOSE_PROFILES") ?? "");
  const isActive = (profiles: readonly string[] = []): boolean =>
    profiles.length === 0 || active.has("*") || profiles.some((profile) => active.has(profile));
  const chosen = [...(top.services ?? [])].filter(([, { profiles }]) => isActive(profiles));
  const shared: Shared = {
    ...{ app: name, source, places, problems, files, networks, volumes },
    secrets: fileOf("secrets"),
    configs: fileOf("configs"),
    services: new Set(chosen.map(([key]) => key)),
    inactive: new Set([...(top.services ?? new Map()).keys()]),
  };
  const services = chosen.flatMap(([key, found]) => serviceOf(key, found, nodeAt(servicesNode, key), shared) ?? []);
  if (services.length === 0 && problems.isEmpty)
    problems.add(servicesNode.at, "services", "none is of an active profile (COMPOSE_PROFILES)");
  checkNames(services, servicesNode, problems);
  const sorted = ordered(services, (service, message) => {
    const at = nodeAt(nodeAt(servicesNode, service), "depends_on");
    problems.add(at.at, at.path, message);
  });
  return { name, services: sorted, ...used(sorted, networks, volumes) };
}

function activeProfiles(written: string): Set<string> {
  return new Set(
    written
      .split(",")
      .map((word) => word.trim())
      .filter((word) => word !== ""),
  );
}

/** The name in the text, that which was asked for, or that of the file. */
function nameOf(written: string | undefined, source: Source, tree: Node, problems: Problems): string {
  if (written !== undefined) return written;
  const base = basename(source.file).replace(/\.(?:ya?ml)$/i, "");
  const isCommon = /^(?:docker-)?compose$/i.test(base) || base === "-" || base === "";
  const name = source.name ?? (isCommon ? basename(source.directory) : base).toLowerCase();
  if (appName.test(name) && name.length <= 40) return name;
  problems.add(
    tree.at,
    "name",
    `${JSON.stringify(name)} cannot be the name of an application: give it one with name: at the top`,
  );
  return "app";
}

function networkOf(app: string, key: string, found: NonNullable<ReturnType<typeof network>>): AppNetwork {
  const isExternal = found.external ?? false;
  const [ipam] = found.ipam?.config ?? [];
  return {
    name: found.name ?? (isExternal ? key : `${app}_${key}`),
    isExternal,
    isInternal: found.internal ?? false,
    ...(ipam?.subnet === undefined ? {} : { subnet: ipam.subnet }),
    ...(ipam?.gateway === undefined ? {} : { gateway: ipam.gateway }),
    ...(ipam?.ip_range === undefined ? {} : { ipRange: ipam.ip_range }),
  };
}

/** Two containers cannot have one name, nor two one port of the host. */
function checkNames(services: readonly Service[], node: MapNode, problems: Problems): void {
  const names = new Map<string, string>();
  const ports = new Map<string, string>();
  for (const { name, containerName, replicas, options } of services) {
    const at = (key: string): Node => nodeAt(nodeAt(node, name), key);
    if (containerName !== undefined) {
      const other = names.get(containerName);
      const { at: place, path } = at("container_name");
      if (other !== undefined) problems.add(place, path, `service ${other} has this name, too`);
      if (replicas > 1)
        problems.add(
          place,
          path,
          `${replicas} containers cannot have one name: remove container_name or deploy.replicas`,
        );
      names.set(containerName, name);
    }
    for (const { hostIp = "", hostPort, protocol } of options.ports ?? []) {
      const port = `${hostIp} ${hostPort}/${protocol}`;
      const other = ports.get(port);
      const { at: place, path } = at("ports");
      if (other !== undefined && other !== name)
        problems.add(place, path, `service ${other} publishes port ${hostPort}/${protocol}, too`);
      if (replicas > 1) problems.add(place, path, `${replicas} containers cannot have one port of the host`);
      ports.set(port, name);
    }
  }
}

function used(
  services: readonly Service[],
  networks: Readonly<Record<string, AppNetwork>>,
  volumes: Readonly<Record<string, AppVolume>>,
): Pick<Application, "networks" | "volumes"> {
  const inNetworks = new Set(services.flatMap((service) => service.networks.map(({ key }) => key)));
  const mounted = new Set(
    services.flatMap(({ options }) =>
      (options.mounts ?? []).flatMap((mount) => (mount.type === "volume" ? (mount.source ?? []) : [])),
    ),
  );
  const only = <T>(all: Readonly<Record<string, T>>, wanted: ReadonlySet<string>): Record<string, T> =>
    Object.fromEntries(Object.entries(all).filter(([key]) => wanted.has(key)));
  return { networks: only(networks, inNetworks), volumes: only(volumes, mounted) };
}

/** The directory and name of a file, for a {@link Source}. */
export function placeOf(file: string): { file: string; directory: string } {
  return { file, directory: dirname(file) };
}
