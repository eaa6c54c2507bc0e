/** The flags of `run` and `create`: docker's, as far as berth has what they ask for. */

import { readFileSync } from "node:fs";
import type { Command } from "commander";
import { invalidArgument, messageOf } from "../../../proto/errdefs.ts";
import { type HealthAction, type HealthConfig, healthActions } from "../../container/health.ts";
import { freePort } from "../../container/network.ts";
import type { NetworkAttachment, RunOptions } from "../../container/options.ts";
import * as parse from "./parse.ts";

/** What commander makes of the flags. */
export interface RunFlags {
  readonly name?: string;
  readonly detach?: boolean;
  readonly interactive?: boolean;
  readonly tty?: boolean;
  readonly rm?: boolean;
  readonly env: readonly string[];
  readonly envFile: readonly string[];
  readonly volume: readonly string[];
  readonly mount: readonly string[];
  readonly tmpfs: readonly string[];
  readonly publish: readonly string[];
  readonly publishAll?: boolean;
  readonly label: readonly string[];
  readonly labelFile: readonly string[];
  readonly annotation: readonly string[];
  readonly network: readonly string[];
  readonly networkAlias: readonly string[];
  readonly ip?: string;
  readonly macAddress?: string;
  readonly hostname?: string;
  readonly dns: readonly string[];
  readonly dnsSearch: readonly string[];
  readonly dnsOption: readonly string[];
  readonly addHost: readonly string[];
  readonly user?: string;
  readonly groupAdd: readonly string[];
  readonly workdir?: string;
  readonly entrypoint?: string;
  readonly memory?: string;
  readonly memorySwap?: string;
  readonly memoryReservation?: string;
  readonly oomKillDisable?: boolean;
  readonly oomScoreAdj?: string;
  readonly cpus?: string;
  readonly cpuShares?: string;
  readonly cpuQuota?: string;
  readonly cpuPeriod?: string;
  readonly cpusetCpus?: string;
  readonly cpusetMems?: string;
  readonly pidsLimit?: string;
  readonly ulimit: readonly string[];
  readonly device: readonly string[];
  readonly capAdd: readonly string[];
  readonly capDrop: readonly string[];
  readonly privileged?: boolean;
  readonly readOnly?: boolean;
  readonly shmSize?: string;
  readonly sysctl: readonly string[];
  readonly securityOpt: readonly string[];
  readonly pid?: string;
  readonly ipc?: string;
  readonly uts?: string;
  readonly cgroupns?: string;
  readonly cgroupParent?: string;
  readonly restart?: string;
  readonly healthCmd?: string;
  readonly healthInterval?: string;
  readonly healthTimeout?: string;
  readonly healthRetries?: string;
  readonly healthStartPeriod?: string;
  readonly healthStartInterval?: string;
  readonly healthOnFailure?: string;
  /** False with `--no-healthcheck`. */
  readonly healthcheck: boolean;
  readonly logDriver?: string;
  readonly logOpt: readonly string[];
  readonly stopSignal?: string;
  readonly stopTimeout?: string;
  readonly pull?: string;
  readonly platform?: string;
  readonly snapshotter?: string;
  readonly runtime?: string;
  readonly init?: boolean;
  readonly cidfile?: string;
  readonly quiet?: boolean;
}

const collect = (value: string, before: string[]): string[] => [...before, value];

/** Adds the flags that `run` and `create` share. */
export function addRunFlags(command: Command): Command {
  const list = (flags: string, text: string): Command => command.option(flags, text, collect, []);
  command.optionsGroup("The container:");
  command.option("--name <name>", "its name, which is its id (from the image's name)");
  command.option("-i, --interactive", "keep standard input open");
  command.option("-t, --tty", "give it a terminal");
  command.option("--rm", "remove it when it has ended");
  command.option("--entrypoint <program>", "run this before the command, in place of the image's entrypoint");
  list("-e, --env <name=value>", "set a variable; NAME alone takes it from here");
  list("--env-file <file>", "set the variables of a file");
  command.option("-u, --user <user>", "run as USER[:GROUP], names or numbers");
  list("--group-add <group>", "one more group");
  command.option("-w, --workdir <path>", "working directory");
  list("-l, --label <name=value>", "set a label");
  list("--label-file <file>", "set the labels of a file");
  list("--annotation <name=value>", "set an annotation of the OCI spec");
  command.option("--cidfile <file>", "write its id into a new file");
  command.optionsGroup("The image:");
  command.option("--pull <when>", "missing, always or never (missing)");
  command.option("--platform <platform>", "such as linux/arm64");
  command.option("-q, --quiet", "do not show how a pull gets on");
  command.option("--snapshotter <name>", "where layers are (CONTAINERD_SNAPSHOTTER; the daemon's)");
  command.option("--runtime <name>", "such as io.containerd.runc.v2");
  command.optionsGroup("Keeping it running:");
  command.option("--restart <policy>", "no, always, on-failure[:TIMES] or unless-stopped (no)");
  command.option("--health-cmd <command>", "ask a shell in it whether it is well");
  command.option("--health-interval <time>", "between two checks (30s)");
  command.option("--health-timeout <time>", "a check that takes longer has failed (30s)");
  command.option("--health-retries <times>", "failures in a row that count (3)");
  command.option("--health-start-period <time>", "failures this long after the start do not count (0s)");
  command.option("--health-start-interval <time>", "between two checks in that time (5s)");
  command.option("--health-on-failure <action>", `what then: ${healthActions.join(", ")} (none)`);
  command.option("--no-healthcheck", "do not run the image's check");
  command.option("--stop-signal <signal>", "ends it (the image's, or SIGTERM)");
  command.option("--stop-timeout <seconds>", "until it is killed (10)");
  command.option(
    "--log-driver <driver>",
    "json, cri, raw, ring (in memory), none, file:///PATH or binary:///PROGRAM (json)",
  );
  list("--log-opt <name=value>", "max-size and max-file");
  command.optionsGroup("Files:");
  list("-v, --volume <volume>", "/HOST/PATH:/PATH[:ro], VOLUME:/PATH[:ro] or /PATH");
  list("--mount <mount>", "type=bind|volume|tmpfs,source=...,target=...[,readonly]");
  list("--tmpfs <path>", "/PATH[:size=64m,mode=1777]");
  command.option("--read-only", "it cannot change its own files");
  command.option("--shm-size <size>", "of /dev/shm (64m)");
  list("--device <device>", "/dev/NAME[:/dev/NAME][:rwm]");
  command.optionsGroup("Network:");
  list("--network <network>", "a network's name, host, none or container:ID");
  command.option("--net <network>", "the same", collect, []);
  list("-p, --publish <port>", "[IP:][HOSTPORT:]PORT[/udp]");
  command.option("-P, --publish-all", "publish every port that the image exposes");
  list("--network-alias <name>", "one more name in its network");
  command.option("--ip <address>", "its address");
  command.option("--mac-address <address>", "its hardware address");
  command.option("-h, --hostname <name>", "its host name (its id)");
  list("--add-host <name:address>", "a line of /etc/hosts");
  list("--dns <address>", "a name server");
  list("--dns-search <domain>", "a search domain");
  list("--dns-option <option>", "an option of resolv.conf");
  command.optionsGroup("Limits and rights:");
  command.option("-m, --memory <size>", "memory at most");
  command.option("--memory-swap <size>", "memory and swap together; -1 for any");
  command.option("--memory-reservation <size>", "memory that it keeps when memory is short");
  command.option("--oom-kill-disable", "do not kill it when its memory is used up");
  command.option("--oom-score-adj <score>", "-1000 to 1000");
  command.option("--cpus <number>", "CPUs' time at most, such as 1.5");
  command.option("-c, --cpu-shares <shares>", "its part when CPUs are short (1024)");
  command.option("--cpu-quota <microseconds>", "CPU time in a period");
  command.option("--cpu-period <microseconds>", "a period (100000)");
  command.option("--cpuset-cpus <list>", "CPUs that it may use, such as 0-2,4");
  command.option("--cpuset-mems <list>", "memory nodes that it may use");
  command.option("--pids-limit <number>", "processes at most; -1 for any");
  list("--ulimit <limit>", "NAME=SOFT[:HARD]");
  list("--cap-add <capability>", "give it a capability, or ALL");
  list("--cap-drop <capability>", "take one away, or ALL");
  command.option("--privileged", "give it everything: all capabilities, all devices, no filter");
  list("--security-opt <option>", "no-new-privileges, seccomp=unconfined or seccomp=FILE");
  list("--sysctl <name=value>", "a setting of the kernel's that is its own");
  command.option("--pid <namespace>", "host: see all processes");
  command.option("--ipc <namespace>", "host: share memory with the host");
  command.option("--uts <namespace>", "host: have the host's name");
  command.option("--cgroupns <namespace>", "host or private");
  command.option("--cgroup-parent <path>", "where its cgroup is");
  command.option("--init", "not there: say so");
  command.optionsGroup("Options:");
  command.helpOption("--help", "print this");
  return command;
}

/**
 * The options that flags stand for. Files that they name are read.
 * @throws ContainerdError InvalidArgument that names the flag
 */
export function runOptions(
  image: string,
  args: readonly string[],
  flags: RunFlags & { net?: readonly string[] },
): RunOptions {
  if (flags.init) {
    throw invalidArgument(
      "--init: berth brings no init; take an image with tini or dumb-init, or --entrypoint with one of yours",
    );
  }
  const env = process.env;
  const networks = [...flags.network, ...(flags.net ?? [])];
  const all = {
    name: flags.name,
    image,
    command: args.length > 0 ? args : undefined,
    entrypoint: flags.entrypoint === undefined ? undefined : flags.entrypoint === "" ? [] : [flags.entrypoint],
    env: [
      ...flags.envFile.flatMap((path) => parse.envFile(path, read("--env-file", path), env)),
      ...flags.env.flatMap((text) => parse.variableOf(text, env) ?? []),
    ],
    labels: Object.fromEntries([
      ...flags.labelFile.flatMap((path) =>
        parse.envFile(path, read("--label-file", path), {}).map((text) => parse.pairOf("--label-file", text)),
      ),
      ...flags.label.map((text) => parse.pairOf("--label", text)),
    ]),
    annotations: Object.fromEntries(flags.annotation.map((text) => parse.pairOf("--annotation", text))),
    mounts: [
      ...flags.volume.map((text) => parse.volumeFlag(text)),
      ...flags.mount.map(parse.mountFlag),
      ...flags.tmpfs.map(parse.tmpfsFlag),
    ],
    ports: flags.publish.flatMap((text) => parse.portFlag(text, freePort)),
    publishAll: flags.publishAll,
    ...networkOf(networks, flags),
    hostname: flags.hostname,
    dns: flags.dns,
    dnsSearch: flags.dnsSearch,
    dnsOptions: flags.dnsOption,
    extraHosts: flags.addHost,
    user: flags.user,
    groupAdd: flags.groupAdd,
    workdir: flags.workdir,
    tty: flags.tty,
    stdin: flags.interactive,
    ...limitsOf(flags),
    ulimits: flags.ulimit.map(parse.ulimitFlag),
    devices: flags.device.map(parse.deviceFlag),
    capAdd: flags.capAdd.flatMap((text) => text.split(",")),
    capDrop: flags.capDrop.flatMap((text) => text.split(",")),
    privileged: flags.privileged,
    readOnly: flags.readOnly,
    shmSize: when(flags.shmSize, (text) => parse.sizeOf("--shm-size", text)),
    sysctls: Object.fromEntries(flags.sysctl.map((text) => parse.pairOf("--sysctl", text))),
    securityOpt: flags.securityOpt,
    pid: hostOnly("--pid", flags.pid),
    ipc: hostOnly("--ipc", flags.ipc),
    uts: hostOnly("--uts", flags.uts),
    cgroupns: oneOf("--cgroupns", flags.cgroupns, ["host", "private"] as const),
    cgroupParent: when(flags.cgroupParent, absolute),
    restart: when(flags.restart, parse.restartFlag),
    health: healthOf(flags),
    log: parse.logFlags(flags.logDriver, flags.logOpt),
    stopSignal: flags.stopSignal,
    stopTimeout: when(flags.stopTimeout, (text) => {
      return text === "-1" ? -1 : Math.round(parse.numberOf("--stop-timeout", text) * 1000);
    }),
    pull: oneOf("--pull", flags.pull, ["missing", "always", "never"] as const),
    platform: flags.platform,
    snapshotter: flags.snapshotter,
    runtime: flags.runtime,
    autoRemove: flags.rm,
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as unknown as RunOptions;
}

/** Flags about limits: those of `update`, too. @throws ContainerdError */
export function limitsOf(
  flags: Pick<
    Partial<RunFlags>,
    | "memory"
    | "memorySwap"
    | "memoryReservation"
    | "oomKillDisable"
    | "oomScoreAdj"
    | "cpus"
    | "cpuShares"
    | "cpuQuota"
    | "cpuPeriod"
    | "cpusetCpus"
    | "cpusetMems"
    | "pidsLimit"
  >,
) {
  return {
    memory: when(flags.memory, (text) => parse.sizeOf("--memory", text)),
    memorySwap: when(flags.memorySwap, (text) => parse.sizeOrAny("--memory-swap", text)),
    memoryReservation: when(flags.memoryReservation, (text) => parse.sizeOf("--memory-reservation", text)),
    oomKillDisable: flags.oomKillDisable,
    oomScoreAdj: when(flags.oomScoreAdj, (text) => parse.integerOf("--oom-score-adj", text, -1000)),
    cpus: when(flags.cpus, (text) => parse.numberOf("--cpus", text)),
    cpuShares: when(flags.cpuShares, (text) => parse.integerOf("--cpu-shares", text, 2)),
    cpuQuota: when(flags.cpuQuota, (text) => parse.integerOf("--cpu-quota", text, -1)),
    cpuPeriod: when(flags.cpuPeriod, (text) => parse.integerOf("--cpu-period", text, 1000)),
    cpusetCpus: flags.cpusetCpus,
    cpusetMems: flags.cpusetMems,
    pidsLimit: when(flags.pidsLimit, (text) => parse.integerOf("--pids-limit", text, -1)),
  };
}

function when<T>(text: string | undefined, read: (text: string) => T): T | undefined {
  return text === undefined ? undefined : read(text);
}

function networkOf(
  names: readonly string[],
  { networkAlias, ip, macAddress }: RunFlags,
): Pick<RunOptions, "networkMode"> | { readonly networks: readonly NetworkAttachment[] } {
  const [first] = names;
  const hasMore = networkAlias.length > 0 || ip !== undefined || macAddress !== undefined;
  if (first !== undefined && /^(host|none|container:.*)$/.test(first)) {
    if (names.length > 1 || hasMore)
      throw invalidArgument(`--network ${first} goes with no other network, name or address`);
    return { networkMode: first };
  }
  const [attachment, ...rest] = names.filter((name) => name !== "default").map(parse.networkFlag);
  if (attachment === undefined && !hasMore) return { networks: [] };
  if (attachment === undefined)
    throw invalidArgument("--ip, --mac-address and --network-alias are of a --network: name it");
  return {
    networks: [
      {
        ...attachment,
        ...(networkAlias.length > 0 ? { aliases: [...(attachment.aliases ?? []), ...networkAlias] } : {}),
        ...(ip === undefined ? {} : { ip }),
        ...(macAddress === undefined ? {} : { mac: macAddress }),
      },
      ...rest,
    ],
  };
}

function healthOf(flags: RunFlags): Partial<HealthConfig> | null | undefined {
  const { healthCmd, healthOnFailure } = flags;
  const time = (flag: string, text: string | undefined) => when(text, (value) => parse.durationOf(flag, value));
  const given = {
    test: healthCmd === undefined ? undefined : ["CMD-SHELL", healthCmd],
    interval: time("--health-interval", flags.healthInterval),
    timeout: time("--health-timeout", flags.healthTimeout),
    retries: when(flags.healthRetries, (text) => parse.integerOf("--health-retries", text, 1)),
    start_period: time("--health-start-period", flags.healthStartPeriod),
    start_interval: time("--health-start-interval", flags.healthStartInterval),
    action: oneOf<HealthAction>("--health-on-failure", healthOnFailure, healthActions),
  };
  const some = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  if (!flags.healthcheck) {
    if (Object.keys(some).length > 0) throw invalidArgument("--no-healthcheck and options of a check at once");
    return null;
  }
  return Object.keys(some).length > 0 ? some : undefined;
}

function oneOf<T extends string>(flag: string, text: string | undefined, values: readonly T[]): T | undefined {
  if (text === undefined) return undefined;
  const found = values.find((value) => value === text);
  if (found === undefined) throw invalidArgument(`${flag} ${JSON.stringify(text)}: it is ${values.join(", ")}`);
  return found;
}

function hostOnly(flag: string, text: string | undefined): "host" | undefined {
  if (text === undefined || text === "" || text === "private") return undefined;
  if (text !== "host") throw invalidArgument(`${flag} ${JSON.stringify(text)}: berth knows host and private`);
  return "host";
}

function absolute(text: string): string {
  if (!text.startsWith("/") || text.split("/").includes(".."))
    throw invalidArgument(`--cgroup-parent ${text}: it is a path from /`);
  return text;
}

function read(flag: string, path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw invalidArgument(`${flag}: cannot read ${path}: ${messageOf(error)}`);
  }
}
