/** The keys of one service: which are read, which have no effect, and which are refused. */

import { healthActions } from "../../container/health.ts";
import type { LogOptions, PortMapping, RestartPolicy } from "../../container/options.ts";
import { type Places, tmpfs, volumes } from "./mounts.ts";
import { nodeName } from "./node.ts";
import { ports } from "./ports.ts";
import { command, devices, healthcheck, ulimits } from "./process.ts";
import {
  decimal,
  either,
  flag,
  integer,
  keyValues,
  list,
  mapOf,
  matching,
  object,
  oneOf,
  type Reader,
  text,
  texts,
} from "./reader.ts";
import { bytes, duration } from "./units.ts";

const name = { pattern: nodeName, expected: "letters, digits, _ . -" };
const MIN_MEMORY = 6 << 20;

/** `restart`. */
const restart: Reader<RestartPolicy> = (node, problems) => {
  const written = node.kind === "text" ? node.text : "";
  const [, policy, maximum] = /^(no|false|always|unless-stopped|on-failure)(?::(\d{1,6}))?$/.exec(written) ?? [];
  if (policy === undefined || (maximum !== undefined && policy !== "on-failure")) {
    return problems.add(node.at, node.path, 'expected "no", always, on-failure, on-failure:COUNT or unless-stopped');
  }
  if (policy === "on-failure") return { name: policy, maximum: Number(maximum ?? 0) };
  return { name: policy === "false" ? "no" : (policy as "no" | "always" | "unless-stopped") };
};

const logDrivers = {
  "json-file": "json",
  local: "json",
  berth: "json",
  cri: "cri",
  raw: "raw",
  ring: "ring",
  none: "none",
} as const satisfies Record<string, LogOptions["driver"]>;

const loggingFields = object({
  driver: oneOf(...(Object.keys(logDrivers) as (keyof typeof logDrivers)[])),
  options: object(
    { "max-size": bytes(1024), "max-file": integer(1, 1000) },
    {},
    {
      compress: "files of logs are not compressed",
      mode: "the application never waits for its log",
      tag: "",
      labels: "",
      env: "",
      "labels-regex": "",
      "env-regex": "",
      "max-buffer-size": "",
    },
  ),
});

/** `logging`; `ring` keeps it in memory. */
const logging: Reader<LogOptions> = (node, problems) => {
  const read = loggingFields(node, problems);
  if (read === undefined) return undefined;
  const { "max-size": maxSize, "max-file": maxFile } = read.options ?? {};
  return {
    driver: logDrivers[read.driver ?? "json-file"],
    ...(maxSize === undefined ? {} : { maxSize }),
    ...(maxFile === undefined ? {} : { maxFile }),
  };
};

const conditions = oneOf("service_started", "service_healthy", "service_completed_successfully");
const dependency = object({ condition: conditions, required: flag, restart: flag });

/** What `depends_on` says of one service. */
export interface DependsOn {
  readonly condition?: "service_started" | "service_healthy" | "service_completed_successfully";
  readonly required?: boolean;
  readonly restart?: boolean;
}

/** `depends_on`: a list of services, or a map with conditions. */
const dependsOn: Reader<Map<string, DependsOn>> = (node, problems) => {
  if (node.kind !== "list") return mapOf<DependsOn>(dependency, name)(node, problems);
  const names = list(text)(node, problems);
  return names && new Map(names.map((each) => [each, {}]));
};

/** What a service says of one network. */
export interface InNetwork {
  readonly aliases?: string[];
  readonly ipv4_address?: string;
  readonly mac_address?: string;
}

const ipv4 = matching(/^(?:\d{1,3}\.){3}\d{1,3}$/, "an IPv4 address");
const inNetwork: Reader<InNetwork> = object(
  { aliases: list(text), ipv4_address: ipv4, mac_address: text },
  { ipv6_address: "networks have IPv4 addresses alone" },
  { priority: "networks are joined in the order of the file", gw_priority: "", link_local_ips: "", driver_opts: "" },
);

/** `networks`: a list of names, or a map. */
const networks: Reader<Map<string, InNetwork>> = (node, problems) => {
  if (node.kind === "list") {
    const names = list(matching(name.pattern, name.expected))(node, problems);
    return names && new Map(names.map((each) => [each, {}]));
  }
  const orNothing: Reader<InNetwork> = (value, found) => (value.kind === "null" ? {} : inNetwork(value, found));
  return mapOf(orNothing, name)(node, problems);
};

/** One file of `env_file`. */
export interface EnvFile {
  readonly path?: string;
  readonly required?: boolean;
  readonly format?: "raw";
}

const envFileFields: Reader<EnvFile> = object({ path: text, required: flag, format: oneOf("raw") });
const envFile: Reader<EnvFile[]> = (node, problems) => {
  const one: Reader<EnvFile> = either((each, found) => {
    const path = text(each, found);
    return path === undefined ? undefined : { path };
  }, envFileFields);
  if (node.kind === "list") return list(one, 50)(node, problems);
  const only = one(node, problems);
  return only && [only];
};

/** One of `secrets` or `configs`. */
export interface FileUse {
  readonly source?: string;
  readonly target?: string;
}

const fileUseFields: Reader<FileUse> = object(
  { source: text, target: text },
  {},
  { uid: "the file keeps its owner", gid: "the file keeps its group", mode: "the file keeps its mode" },
);
const fileUses = list(
  either<FileUse, FileUse>((node, problems) => {
    const source = text(node, problems);
    return source === undefined ? undefined : { source };
  }, fileUseFields),
);

const cpus = decimal(0.01, 10_000);
const reservation = object(
  { cpus: decimal(0, 10_000), memory: bytes() },
  { devices: "name them in `devices` of the service", generic_resources: "remove it" },
);
const deploy = object(
  {
    replicas: integer(0, 100),
    resources: object({
      limits: object({ cpus, memory: bytes(MIN_MEMORY), pids: integer(-1, 2 ** 31) }),
      reservations: reservation,
    }),
    restart_policy: object(
      { condition: oneOf("none", "on-failure", "any"), max_attempts: integer(0, 1e6) },
      {},
      { delay: "berth backs off by itself ([restart] of its configuration)", window: "berth backs off by itself" },
    ),
    labels: keyValues,
  },
  {},
  {
    mode: "there is one node",
    placement: "there is one node",
    endpoint_mode: "there is one node",
    rollback_config: "there is one way back",
    update_config: "containers are replaced one by one, the old one ends first, and what fails is taken back",
  },
);

const elsewhere = "it is of Compose's swarm or of Windows; remove it";
const refused = {
  build: "berth builds no images: build elsewhere, push or `berth load` the image, and name it in `image`",
  extends: "use anchors and << of YAML, or write it out",
  develop: "it is for development; remove it",
  links: "services of one application find each other by name; remove it",
  external_links: "give both applications one external network",
  volumes_from: "name the volumes in both services",
  gpus: "name the devices in `devices`",
  models: elsewhere,
  provider: elsewhere,
  credential_spec: elsewhere,
  isolation: elsewhere,
  device_cgroup_rules: "name the devices in `devices`",
  storage_opt: "limits of a container's file system are not there",
  userns_mode: "user namespaces are not there",
  post_start: "let the image's entrypoint do it",
  pre_stop: "let the image's entrypoint do it, on its stop signal",
  blkio_config: "limits of block devices are not there",
  runtime: "berth's own shim runs services",
} as const;

const ignored = {
  expose: "containers of one network reach each other's ports anyway",
  init: "no init is put into a container; take an image whose entrypoint is one",
  stdin_open: "nobody writes to the stdin of a service",
  attach: "the log is always kept",
  annotations: "",
  mac_address: "give it in `networks`",
  scale: "use deploy.replicas",
  mem_swappiness: "the kernel's default is used",
  cpu_rt_runtime: "",
  cpu_rt_period: "",
  cpu_count: "",
  cpu_percent: "",
  label_file: "",
  pull_refresh_after: "",
  use_api_socket: "",
} as const;

const kept = /^(?:berth\/|containerd\.io\/|io\.cri-containerd)/;

/** `labels`, but for those that steer berth. */
const labels: Reader<Map<string, string | null>> = (node, problems) => {
  const found = keyValues(node, problems);
  for (const label of found?.keys() ?? []) {
    if (kept.test(label)) problems.add(node.at, node.path, `the label ${label} is berth's own`);
  }
  return found;
};

/** The reader of a service's keys; the values still as Compose groups them. */
export function serviceFields(places: Places) {
  return object(
    {
      image: matching(/^[^\s]{1,512}$/, "the reference of an image"),
      command,
      entrypoint: command,
      environment: keyValues,
      env_file: envFile,
      volumes: volumes(places),
      ports: ports as Reader<PortMapping[]>,
      networks,
      network_mode: oneOf("none", "host", "bridge"),
      depends_on: dependsOn,
      healthcheck,
      restart,
      deploy,
      logging,
      container_name: matching(/^[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*$/, "letters and digits, with single . _ - between"),
      hostname: matching(/^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,62})$/, "a host name"),
      domainname: text,
      extra_hosts: hosts,
      dns: texts,
      dns_search: texts,
      dns_opt: texts,
      user: matching(/^[^\s:]+(?::[^\s:]+)?$/, "USER or USER:GROUP"),
      group_add: list(text),
      working_dir: matching(/^\//, "an absolute path"),
      tty: flag,
      labels,
      cap_add: list(text),
      cap_drop: list(text),
      privileged: flag,
      read_only: flag,
      tmpfs,
      devices,
      ulimits,
      sysctls: keyValues,
      security_opt: list(text),
      shm_size: bytes(1),
      stop_signal: matching(/^(?:SIG)?[A-Z0-9+]+$/, "the name or number of a signal"),
      stop_grace_period: duration,
      oom_score_adj: integer(-1000, 1000),
      oom_kill_disable: flag,
      mem_limit: bytes(MIN_MEMORY),
      mem_reservation: bytes(),
      memswap_limit: either(bytes(), bytes()),
      cpus,
      cpu_shares: integer(0, 262_144),
      cpu_quota: integer(-1, 2 ** 40),
      cpu_period: integer(1000, 1_000_000),
      cpuset: matching(/^[0-9,-]+$/, 'CPUs such as "0-1,3"'),
      pids_limit: integer(-1, 2 ** 31),
      pull_policy: oneOf("always", "missing", "if_not_present", "never"),
      platform: text,
      profiles: list(text),
      secrets: fileUses,
      configs: fileUses,
      pid: oneOf("host"),
      ipc: oneOf("host"),
      uts: oneOf("host"),
      cgroup: oneOf("host", "private"),
      cgroup_parent: text,
      "x-berth-action": oneOf(...healthActions),
    },
    refused,
    ignored,
  );
}

/** `extra_hosts`: `NAME:ADDRESS` or `NAME=ADDRESS` in a list, or a map. */
const hosts: Reader<string[]> = (node, problems) => {
  if (node.kind === "map")
    return mapOf(texts)(node, problems)
      ?.entries()
      .toArray()
      .flatMap(([host, all]) => all.map((ip) => `${host}:${ip}`));
  const each: Reader<string> = (item, found) => {
    const written = text(item, found);
    const [, host, ip] = /^([A-Za-z0-9_.-]+)[:=]\[?([0-9a-fA-F.:]+|host-gateway)\]?$/.exec(written ?? "") ?? [];
    return host === undefined ? found.add(item.at, item.path, 'expected "NAME:ADDRESS"') : `${host}:${ip}`;
  };
  return list(each)(node, problems);
};
