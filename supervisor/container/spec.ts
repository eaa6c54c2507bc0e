/** The OCI spec of a container, out of an image's defaults and options. Pure: all that was looked up comes in. */

import { invalidArgument } from "../../proto/errdefs.ts";
import type { NetworkSpec } from "../network/spec.ts";
import { capabilitiesFor } from "./capabilities.ts";
import type { ResolvedDevice } from "./devices.ts";
import type { HostFacts } from "./facts.ts";
import type { ImageDefaults } from "./image-config.ts";
import {
  defaultPath,
  kernelMounts,
  maskedPaths,
  type OciMount,
  type OciSeccomp,
  type OciSpec,
  readonlyPaths,
} from "./oci.ts";
import type { RunOptions, TmpfsMount } from "./options.ts";
import { resourcesOf } from "./resources.ts";
import { defaultSeccomp } from "./seccomp.ts";
import type { ResolvedUser } from "./user.ts";

/** All that a spec is made of. */
export interface SpecInput {
  readonly namespace: string;
  readonly id: string;
  readonly options: RunOptions;
  readonly image: Pick<ImageDefaults, "entrypoint" | "command" | "env" | "workdir">;
  readonly user: ResolvedUser;
  /** Binds of files, directories and volumes, looked up. */
  readonly binds: readonly OciMount[];
  readonly devices: readonly ResolvedDevice[];
  readonly network: Pick<NetworkSpec, "mounts" | "hooks" | "namespaces" | "annotations">;
  readonly facts: HostFacts;
  /** The profile of `seccomp=FILE`. */
  readonly seccomp?: OciSeccomp;
  readonly warn?: (text: string) => void;
}

const DEFAULT_SHM = 64 << 20;
/** Characters of a command line; the kernel takes no more either. */
const MAX_ARGS = 2 << 20;

/**
 * The spec of a container.
 * @throws ContainerdError InvalidArgument for options that make no sense
 */
export function buildSpec(input: SpecInput): OciSpec {
  const { namespace, id, options, user, devices, network, facts } = input;
  const { privileged = false } = options;
  const capabilities = capabilitiesFor(
    { ...(options.capAdd && { add: options.capAdd }), ...(options.capDrop && { drop: options.capDrop }), privileged },
    facts.capabilities,
  );
  const security = securityOf(options.securityOpt ?? []);
  const seccomp =
    privileged || security.unconfined ? undefined : (input.seccomp ?? defaultSeccomp(capabilities, facts.machine));
  const propagation = propagationOf(input.binds);
  const rlimits = (options.ulimits ?? []).map(({ name, soft, hard }) => {
    return { type: `RLIMIT_${name.toUpperCase()}`, soft: limit(soft), hard: limit(hard) };
  });
  return {
    ociVersion: "1.0.2",
    process: {
      ...(options.tty ? { terminal: true } : {}),
      user: { uid: user.uid, gid: user.gid, ...(user.additionalGids ? { additionalGids: user.additionalGids } : {}) },
      args: argsOf(options, input.image),
      env: envOf(input),
      cwd: workdirOf(options.workdir ?? input.image.workdir),
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
      ...(rlimits.length > 0 ? { rlimits } : {}),
      ...(security.noNewPrivileges ? { noNewPrivileges: true } : {}),
      ...(options.oomScoreAdj === undefined ? {} : { oomScoreAdj: options.oomScoreAdj }),
    },
    root: { path: "rootfs", readonly: options.readOnly ?? false },
    ...(options.uts === "host" ? {} : { hostname: hostnameOf(input) }),
    mounts: mountsOf(input),
    ...(Object.keys(network.hooks).length > 0 ? { hooks: network.hooks } : {}),
    annotations: { ...options.annotations, ...network.annotations },
    linux: {
      namespaces: namespacesOf(input),
      cgroupsPath: `${(options.cgroupParent ?? "").replace(/\/+$/, "")}/${namespace}/${id}`,
      resources: resourcesOf(options, devices, facts, input.warn),
      ...(devices.length > 0 ? { devices: devices.map(({ node }) => node) } : {}),
      ...(options.sysctls && Object.keys(options.sysctls).length > 0 ? { sysctl: sysctlsOf(input) } : {}),
      ...(seccomp === undefined ? {} : { seccomp }),
      maskedPaths: privileged ? [] : maskedPaths,
      readonlyPaths: privileged ? [] : readonlyPaths,
      ...(propagation === undefined ? {} : { rootfsPropagation: propagation }),
    },
  };
}

/** What is run: as docker, a new entrypoint takes the image's command away. @throws ContainerdError when there is none */
export function argsOf(
  { entrypoint, command, image }: Pick<RunOptions, "entrypoint" | "command" | "image">,
  defaults: Pick<ImageDefaults, "entrypoint" | "command">,
): string[] {
  const first = entrypoint ?? defaults.entrypoint;
  const rest = command ?? (entrypoint === undefined ? defaults.command : []);
  const args = [...first, ...rest];
  if (args.length === 0) throw invalidArgument(`${image} names no command: say what to run after the image`);
  if (args.some((arg) => arg.includes("\0")) || args.join(" ").length > MAX_ARGS) {
    throw invalidArgument("the command has a NUL in it, or is longer than 2 MiB");
  }
  return args;
}

function envOf({ options, image, id }: SpecInput): string[] {
  const variables = new Map<string, string>();
  const set = (text: string): void => {
    const equals = text.indexOf("=");
    if (text.includes("\0") || equals === 0) {
      throw invalidArgument(`${JSON.stringify(text.slice(0, 80))} is no variable: write it as NAME=VALUE`);
    }
    if (equals < 0) variables.delete(text);
    else variables.set(text.slice(0, equals), text.slice(equals + 1));
  };
  set(defaultPath);
  if (options.uts !== "host") set(`HOSTNAME=${options.hostname ?? id}`);
  if (options.tty) set("TERM=xterm");
  // An image's variable without a value is empty, not a removal.
  for (const text of image.env) if (!text.startsWith("=")) set(text.includes("=") ? text : `${text}=`);
  for (const text of options.env ?? []) set(text);
  return [...variables].map(([name, value]) => `${name}=${value}`);
}

function workdirOf(text: string): string {
  const path = text === "" ? "/" : text;
  if (!path.startsWith("/")) throw invalidArgument(`working directory ${JSON.stringify(path)} is not absolute`);
  return path;
}

function hostnameOf({ options, id }: SpecInput): string {
  const name = options.hostname ?? id;
  if (!/^[A-Za-z0-9]([A-Za-z0-9.-]{0,62})$/.test(name) && options.hostname !== undefined) {
    throw invalidArgument(`${JSON.stringify(name)} is no host name: 63 letters, digits, "-" and "." at most`);
  }
  // An id may be longer than a name, or have an underscore.
  return name.slice(0, 63);
}

function mountsOf({ options, binds, network }: SpecInput): OciMount[] {
  const { privileged = false } = options;
  const kernel = kernelMounts(options.shmSize ?? DEFAULT_SHM).flatMap((mount) => {
    if (options.ipc === "host" && mount.destination === "/dev/shm") return [hostBind("/dev/shm")];
    if (options.ipc === "host" && mount.destination === "/dev/mqueue") return [hostBind("/dev/mqueue")];
    if (!privileged) return [mount];
    return [{ ...mount, options: mount.options.filter((option) => option !== "ro") }];
  });
  const tmpfs = (options.mounts ?? []).filter((mount) => mount.type === "tmpfs").map(tmpfsMount);
  const said = [...tmpfs, ...binds];
  const targets = new Set(said.map(({ destination }) => destination));
  if (targets.size < said.length) {
    const twice = said.find(({ destination }, index) => said.findIndex((m) => m.destination === destination) < index);
    throw invalidArgument(`two mounts at ${twice?.destination}: take one of them away`);
  }
  // What the user mounts wins, also over /proc, and over /etc/hosts and its like.
  const isFree = ({ destination }: OciMount): boolean => !targets.has(destination);
  const depth = ({ destination }: OciMount): number => destination.split("/").length;
  // What is mounted below another comes after it.
  const rest = [...network.mounts.filter(isFree), ...said].sort((a, b) => depth(a) - depth(b));
  return [...kernel.filter(isFree), ...rest];
}

function hostBind(path: string): OciMount {
  return { destination: path, type: "bind", source: path, options: ["rbind", "rw"] };
}

function tmpfsMount({ target, readOnly, size, mode, options = [] }: TmpfsMount): OciMount {
  return {
    destination: target,
    type: "tmpfs",
    source: "tmpfs",
    options: [
      ...["nosuid", "nodev"],
      ...(options.includes("exec") ? [] : ["noexec"]),
      ...options.filter((option) => option !== "rw" && option !== "ro"),
      ...(readOnly || options.includes("ro") ? ["ro"] : []),
      ...(size === undefined ? [] : [`size=${size}`]),
      ...(mode === undefined ? [] : [`mode=${mode.toString(8)}`]),
    ],
  };
}

/** Mounts that are shared with the host need a root that is; undefined where none is. */
function propagationOf(binds: readonly OciMount[]): string | undefined {
  const has = (...names: string[]): boolean =>
    binds.some(({ options }) => options.some((name) => names.includes(name)));
  if (has("shared", "rshared")) return "shared";
  return has("slave", "rslave") ? "rslave" : undefined;
}

function namespacesOf({ options, network, facts }: SpecInput): { type: string; path?: string }[] {
  const isPrivate =
    options.cgroupns === undefined ? facts.isCgroup2 && !options.privileged : options.cgroupns === "private";
  return [
    { type: "mount" },
    ...(options.pid === "host" ? [] : [{ type: "pid" }]),
    ...(options.ipc === "host" ? [] : [{ type: "ipc" }]),
    ...(options.uts === "host" ? [] : [{ type: "uts" }]),
    ...network.namespaces,
    ...(isPrivate ? [{ type: "cgroup" }] : []),
  ];
}

function sysctlsOf({ options, network }: SpecInput): Readonly<Record<string, string>> {
  const hasNetwork = network.namespaces.length > 0;
  for (const name of Object.keys(options.sysctls ?? {})) {
    if (!/^[a-z0-9_.\-/]+$/i.test(name)) throw invalidArgument(`${JSON.stringify(name)} is no sysctl`);
    if (name.startsWith("net.") && !hasNetwork) {
      throw invalidArgument(`--sysctl ${name} would change the host: it is not possible with the host's network`);
    }
    const isOwn = /^(net\.|kernel\.(shm|msg|sem)|fs\.mqueue\.|kernel\.(domain|host)name$)/.test(name);
    if (!isOwn) throw invalidArgument(`--sysctl ${name} is not the container's own: set it on the host with sysctl -w`);
  }
  return { ...options.sysctls };
}

function securityOf(options: readonly string[]): { noNewPrivileges: boolean; unconfined: boolean } {
  let [noNewPrivileges, unconfined] = [false, false];
  for (const option of options) {
    const [name = "", value = ""] = option.split(/[=:](.*)/s, 2);
    if (name === "no-new-privileges") noNewPrivileges = value === "" || value === "true";
    else if (name === "seccomp") unconfined = value === "unconfined";
    // What is not confined by us can be said to be unconfined.
    else if ((name !== "apparmor" && name !== "label") || !["unconfined", "disable"].includes(value)) {
      throw invalidArgument(
        `--security-opt ${option}: berth knows no-new-privileges, seccomp=unconfined, seccomp=FILE and apparmor=unconfined`,
      );
    }
  }
  return { noNewPrivileges, unconfined };
}

/** RLIM_INFINITY does not fit a number; -1 is written as the largest that does. */
function limit(value: number): number {
  return value < 0 ? Number.MAX_SAFE_INTEGER : value;
}
