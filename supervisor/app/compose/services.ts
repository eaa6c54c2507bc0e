/** One service out of its keys: what they say together, and against what the rest of the file says. */

import { join, relative } from "node:path";
import { nearest } from "../../config/nearest.ts";
import type { MountOption, RunOptions } from "../../container/options.ts";
import type { AppNetwork, AppVolume, Service, ServiceDependency, ServiceNetwork } from "../model.ts";
import { parseDotenv } from "./dotenv.ts";
import type { Source } from "./file.ts";
import { hostPath, type Places } from "./mounts.ts";
import { type Node, nodeAt } from "./node.ts";
import type { Problems } from "./problem.ts";
import type { EnvFile, FileUse, serviceFields } from "./service.ts";

/** What all services of a file share. */
export interface Shared {
  readonly app: string;
  readonly source: Source;
  readonly places: Places;
  readonly problems: Problems;
  /** Files that were read are put here. */
  readonly files: string[];
  readonly networks: Readonly<Record<string, AppNetwork>>;
  readonly volumes: Readonly<Record<string, AppVolume>>;
  readonly secrets: ReadonlyMap<string, string>;
  readonly configs: ReadonlyMap<string, string>;
  /** Names of the services that are to run, and of all. */
  readonly services: ReadonlySet<string>;
  readonly inactive: ReadonlySet<string>;
}

type Keys = NonNullable<ReturnType<ReturnType<typeof serviceFields>>>;

const conditions = {
  service_started: "started",
  service_healthy: "healthy",
  service_completed_successfully: "completed",
} as const;

/** @returns undefined when it cannot be used: then problems tell why */
export function serviceOf(name: string, keys: Keys, node: Node, shared: Shared): Service | undefined {
  const { problems } = shared;
  if (keys.image === undefined) {
    if (node.kind !== "map" || !(node.entries.has("image") || node.entries.has("build"))) {
      problems.add(node.at, node.path, "no image: what the service runs");
    }
    return undefined;
  }
  const replicas = keys.deploy?.replicas ?? 1;
  if (`${shared.app}-${name}-${replicas}`.length > 76) {
    problems.add(
      node.at,
      node.path,
      "the names of the application and the service are longer than 72 letters together",
    );
  }
  if (keys.network_mode !== undefined && keys.networks !== undefined) {
    const at = nodeAt(node, "network_mode");
    problems.add(at.at, at.path, "network_mode and networks exclude each other");
  }
  if (keys.network_mode !== undefined && keys.network_mode !== "bridge" && (keys.ports?.length ?? 0) > 0) {
    const at = nodeAt(node, "ports");
    problems.add(at.at, at.path, `no port can be published with network_mode: ${keys.network_mode}`);
  }
  return {
    name,
    ...(keys.container_name === undefined ? {} : { containerName: keys.container_name }),
    replicas,
    dependsOn: dependenciesOf(keys, node, shared),
    networks: networksOf(keys, node, shared),
    options: optionsOf(keys.image, keys, node, shared),
  };
}

function dependenciesOf(keys: Keys, node: Node, { services, inactive, problems }: Shared): ServiceDependency[] {
  const at = nodeAt(node, "depends_on");
  return [...(keys.depends_on ?? [])].flatMap(
    ([service, { condition = "service_started", required = true, restart = false }]) => {
      if (!services.has(service)) {
        const near = nearest(service, services);
        const why = inactive.has(service)
          ? "is of a profile that is not active"
          : `does not exist${near ? `: did you mean ${near}?` : ""}`;
        if (required) problems.add(at.at, at.path, `service ${service} ${why}`);
        return [];
      }
      return [{ service, condition: conditions[condition], isRequired: required, restart }];
    },
  );
}

function networksOf(keys: Keys, node: Node, { networks, problems }: Shared): ServiceNetwork[] {
  if (keys.network_mode === "none" || keys.network_mode === "host") return [];
  if (keys.networks === undefined || keys.networks.size === 0) return [{ key: "default", aliases: [] }];
  const at = nodeAt(node, "networks");
  return [...keys.networks].flatMap(([key, { aliases = [], ipv4_address: ip, mac_address: mac }]) => {
    if (!Object.hasOwn(networks, key)) {
      const near = nearest(key, Object.keys(networks));
      problems.add(
        at.at,
        at.path,
        `network ${key} is not among the networks of the file${near ? `: did you mean ${near}?` : ""}`,
      );
      return [];
    }
    return [{ key, aliases, ...(ip === undefined ? {} : { ip }), ...(mac === undefined ? {} : { mac }) }];
  });
}

function optionsOf(image: string, keys: Keys, node: Node, shared: Shared): Service["options"] {
  const limits = keys.deploy?.resources?.limits;
  const labels = { ...texts(keys.deploy?.labels), ...texts(keys.labels) };
  const health = keys.healthcheck;
  const options: { [K in keyof Service["options"]]: Service["options"][K] | undefined } = {
    image,
    command: keys.command,
    entrypoint: keys.entrypoint,
    env: environmentOf(keys, node, shared),
    labels: Object.keys(labels).length > 0 ? labels : undefined,
    mounts: mountsOf(keys, node, shared),
    ports: keys.ports,
    networkMode: keys.network_mode === "bridge" ? undefined : keys.network_mode,
    hostname: keys.hostname,
    dns: keys.dns,
    dnsSearch: keys.dns_search,
    dnsOptions: keys.dns_opt,
    extraHosts: keys.extra_hosts,
    user: keys.user,
    groupAdd: keys.group_add,
    workdir: keys.working_dir,
    tty: keys.tty,
    memory: keys.mem_limit ?? limits?.memory,
    memorySwap: keys.memswap_limit,
    memoryReservation: keys.mem_reservation ?? keys.deploy?.resources?.reservations?.memory,
    oomKillDisable: keys.oom_kill_disable,
    oomScoreAdj: keys.oom_score_adj,
    cpus: keys.cpus ?? limits?.cpus,
    cpuShares: keys.cpu_shares,
    cpuQuota: keys.cpu_quota,
    cpuPeriod: keys.cpu_period,
    cpusetCpus: keys.cpuset,
    pidsLimit: keys.pids_limit ?? limits?.pids,
    ulimits: keys.ulimits,
    devices: keys.devices,
    capAdd: keys.cap_add,
    capDrop: keys.cap_drop,
    privileged: keys.privileged,
    readOnly: keys.read_only,
    shmSize: keys.shm_size,
    sysctls: keys.sysctls && texts(keys.sysctls),
    securityOpt: keys.security_opt,
    pid: keys.pid,
    ipc: keys.ipc,
    uts: keys.uts,
    cgroupns: keys.cgroup,
    cgroupParent: keys.cgroup_parent,
    restart: restartOf(keys),
    health: health === undefined ? undefined : "none" in health ? null : health,
    log: keys.logging,
    stopSignal: keys.stop_signal,
    stopTimeout: keys.stop_grace_period,
    pull: keys.pull_policy === "if_not_present" ? "missing" : keys.pull_policy,
    platform: keys.platform,
  };
  return Object.fromEntries(
    Object.entries(options).filter(([, value]) => value !== undefined),
  ) as unknown as Service["options"];
}

function texts(values: ReadonlyMap<string, string | null> | undefined): Record<string, string> {
  return Object.fromEntries([...(values ?? [])].map(([name, value]) => [name, value ?? ""]));
}

function restartOf(keys: Keys): RunOptions["restart"] | undefined {
  const policy = keys.deploy?.restart_policy;
  if (keys.restart !== undefined || policy === undefined) return keys.restart;
  if (policy.condition === "none") return { name: "no" };
  if (policy.condition === "on-failure") return { name: "on-failure", maximum: policy.max_attempts ?? 0 };
  return { name: "always" };
}

/** Files first, in their order; then what is written in the service. */
function environmentOf(keys: Keys, node: Node, shared: Shared): string[] | undefined {
  const values = new Map<string, string>();
  const put = (name: string, value: string | null): void => {
    const found = value ?? shared.source.environment(name);
    // A name without a value that nobody knows is not there, as in Compose.
    if (found !== undefined) values.set(name, found);
  };
  for (const file of keys.env_file ?? []) {
    for (const [name, value] of envFileOf(file, nodeAt(node, "env_file"), shared)) put(name, value);
  }
  for (const [name, value] of keys.environment ?? []) put(name, value);
  return values.size > 0 ? [...values].map(([name, value]) => `${name}=${value}`) : undefined;
}

function envFileOf(
  { path, required = true, format }: EnvFile,
  node: Node,
  shared: Shared,
): Iterable<[string, string | null]> {
  const { problems, places, source, files } = shared;
  const full = path === undefined ? undefined : hostPath(path, places);
  if (full === undefined || path === undefined) {
    problems.add(node.at, node.path, "no path of a file of variables");
    return [];
  }
  if (!path.startsWith("/") && !path.startsWith("~") && relative(places.directory, full).startsWith("..")) {
    problems.add(node.at, node.path, `${path} leads out of the directory of the file: name it by its absolute path`);
    return [];
  }
  files.push(full);
  try {
    const text = source.readFile(full);
    if (text === undefined) {
      if (required) problems.add(node.at, node.path, `there is no file ${full}: make it, or say required: false`);
      return [];
    }
    const { values, problems: wrong } = parseDotenv(text, source.environment, format === "raw");
    for (const { line, message } of wrong) problems.add(node.at, node.path, `${full}:${line}: ${message}`);
    return values;
  } catch (error) {
    problems.add(node.at, node.path, `${full} cannot be read: ${(error as Error).message}`);
    return [];
  }
}

function mountsOf(keys: Keys, node: Node, shared: Shared): MountOption[] | undefined {
  const { volumes, problems } = shared;
  const mounts: MountOption[] = [...(keys.volumes ?? []), ...(keys.tmpfs ?? [])];
  for (const mount of keys.volumes ?? []) {
    if (mount.type !== "volume" || mount.source === undefined || Object.hasOwn(volumes, mount.source)) continue;
    const at = nodeAt(node, "volumes");
    const near = nearest(mount.source, Object.keys(volumes));
    const hint =
      near === undefined
        ? `add it there: "${mount.source}:", or write ./${mount.source} for a path`
        : `did you mean ${near}?`;
    problems.add(at.at, at.path, `volume ${mount.source} is not among the volumes of the file: ${hint}`);
  }
  const bind = (
    uses: readonly FileUse[] | undefined,
    kind: "secrets" | "configs",
    target: (source: string) => string,
  ): void => {
    for (const { source = "", target: wanted } of uses ?? []) {
      const file = shared[kind].get(source);
      const at = nodeAt(node, kind);
      if (file === undefined)
        problems.add(at.at, at.path, `${JSON.stringify(source)} is not among the ${kind} of the file`);
      else
        mounts.push({
          type: "bind",
          source: file,
          target: wanted?.startsWith("/") ? wanted : target(wanted ?? source),
          readOnly: true,
        });
    }
  };
  bind(keys.secrets, "secrets", (name) => join("/run/secrets", name));
  bind(keys.configs, "configs", (name) => join("/", name));
  return mounts.length > 0 ? mounts : undefined;
}
