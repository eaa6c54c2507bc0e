/** Values of docker's flags, read into options. What is wrong is refused with how it is written. */

import { isIP } from "node:net";
import { resolve } from "node:path";
import { invalidArgument } from "../../../proto/errdefs.ts";
import type {
  DeviceOption,
  LogOptions,
  MountOption,
  NetworkAttachment,
  PortMapping,
  RestartPolicy,
  TmpfsMount,
  Ulimit,
} from "../../container/options.ts";
import { isVolumeName } from "../../container/volumes.ts";
import { parsePolicy } from "../../restart/policy.ts";
import { parseDuration } from "../output/age.ts";
import { parseSize } from "../output/size.ts";

/** Ports of one range, at most: each costs rules of the firewall. */
const MAX_RANGE = 1024;

const show = (text: string): string => JSON.stringify(text.slice(0, 120));

/** Bytes, such as `512m`. @throws ContainerdError */
export function sizeOf(flag: string, text: string): number {
  const bytes = parseSize(text);
  if (bytes === undefined) throw invalidArgument(`${flag} ${show(text)}: write a size as 512m or 1.5g`);
  return bytes;
}

/** Bytes, or -1 for any. @throws ContainerdError */
export function sizeOrAny(flag: string, text: string): number {
  return text === "-1" ? -1 : sizeOf(flag, text);
}

/** Milliseconds. @throws ContainerdError */
export function durationOf(flag: string, text: string): number {
  const ms = text === "0" ? 0 : parseDuration(text);
  if (ms === undefined) throw invalidArgument(`${flag} ${show(text)}: write a time as 30s, 1m30s or 500ms`);
  return ms;
}

/** A number. @throws ContainerdError */
export function numberOf(flag: string, text: string, least = 0): number {
  const number = Number(text);
  if (text.trim() === "" || !Number.isFinite(number) || number < least) {
    throw invalidArgument(`${flag} ${show(text)}: it is a number, ${least} or more`);
  }
  return number;
}

/** A whole number. @throws ContainerdError */
export function integerOf(flag: string, text: string, least = 0): number {
  const number = numberOf(flag, text, least);
  if (!Number.isSafeInteger(number)) throw invalidArgument(`${flag} ${show(text)}: it is a whole number`);
  return number;
}

/** `NAME=VALUE`, split at the first equals sign; a name alone has an empty value. */
export function pairOf(flag: string, text: string): [string, string] {
  const equals = text.indexOf("=");
  const name = equals < 0 ? text : text.slice(0, equals);
  if (name === "") throw invalidArgument(`${flag} ${show(text)}: write it as NAME=VALUE`);
  return [name, equals < 0 ? "" : text.slice(equals + 1)];
}

/** A variable: `NAME=VALUE`, or a `NAME` that is taken from our own environment; undefined when it is not there. */
export function variableOf(text: string, env: Readonly<Record<string, string | undefined>>): string | undefined {
  const [name] = pairOf("--env", text);
  if (text.includes("=")) return text;
  const value = env[name];
  return value === undefined ? undefined : `${name}=${value}`;
}

/** The variables of a file of docker's: a line each, no quotes, `#` begins a comment. @throws ContainerdError */
export function envFile(path: string, text: string, env: Readonly<Record<string, string | undefined>>): string[] {
  return text.split(/\r?\n/).flatMap((line, index) => {
    const trimmed = line.trimStart();
    if (trimmed === "" || trimmed.startsWith("#")) return [];
    if (/^=|^[^=]*\s[^=]*=/.test(trimmed)) {
      throw invalidArgument(`${path}:${index + 1}: ${show(trimmed)}: write it as NAME=VALUE`);
    }
    return variableOf(trimmed, env) ?? [];
  });
}

/** `-v`: `[SOURCE:]TARGET[:OPTIONS]`. A source with a slash is a path, any other a volume. @throws ContainerdError */
export function volumeFlag(text: string, cwd: string = process.cwd()): MountOption {
  const parts = text.split(":");
  const [source, target, flags] =
    parts.length === 1 ? [undefined, parts[0] ?? "", ""] : [parts[0], parts[1] ?? "", parts[2] ?? ""];
  if (parts.length > 3 || source === "" || !target.startsWith("/")) {
    throw invalidArgument(`--volume ${show(text)}: write it as /HOST/PATH:/PATH[:ro], VOLUME:/PATH[:ro] or /PATH`);
  }
  const options = flags === "" ? [] : flags.split(",");
  const readOnly = options.includes("ro");
  const propagation = options.find((option) => propagations.includes(option as (typeof propagations)[number]));
  const unknown = options.find(
    (option) => !["ro", "rw", "z", "Z", "nocopy", "volume-nocopy", propagation].includes(option),
  );
  if (unknown !== undefined) throw invalidArgument(`--volume ${show(text)}: there is no option ${show(unknown)}`);
  if (source !== undefined && (source.includes("/") || source === "." || source === "..")) {
    const mount = { type: "bind", source: resolve(cwd, source), target, readOnly, createSource: true } as const;
    return propagation === undefined ? mount : { ...mount, propagation: propagation as (typeof propagations)[number] };
  }
  if (source !== undefined && !isVolumeName(source)) {
    throw invalidArgument(
      `--volume ${show(text)}: a volume's name has letters, digits, "_", "." and "-"; a path has a slash`,
    );
  }
  return {
    type: "volume",
    ...(source === undefined ? {} : { source }),
    target,
    readOnly,
    ...(options.some((option) => option.endsWith("nocopy")) ? { noCopy: true } : {}),
  };
}

const propagations = ["private", "rprivate", "shared", "rshared", "slave", "rslave"] as const;

/** `--mount type=bind,source=/a,target=/b,readonly`. @throws ContainerdError */
export function mountFlag(text: string): MountOption {
  const fields = new Map<string, string>();
  for (const part of text.split(",")) {
    const [name, value] = pairOf("--mount", part.trim());
    fields.set(aliases[name] ?? name, value);
  }
  const take = (name: string): string | undefined => {
    const value = fields.get(name);
    fields.delete(name);
    return value;
  };
  const flag = (name: string): boolean =>
    !["false", "0", undefined].includes(fields.has(name) ? take(name) : undefined);
  const type = take("type") ?? "volume";
  const target = take("target") ?? "";
  const source = take("source");
  const readOnly = flag("readonly");
  let mount: MountOption;
  if (type === "bind") {
    if (source === undefined) throw invalidArgument(`--mount ${show(text)}: a bind has a source=/HOST/PATH`);
    const propagation = take("bind-propagation") as (typeof propagations)[number] | undefined;
    if (propagation !== undefined && !propagations.includes(propagation)) {
      throw invalidArgument(`--mount ${show(text)}: bind-propagation is one of ${propagations.join(", ")}`);
    }
    mount = { type, source, target, readOnly, ...(propagation === undefined ? {} : { propagation }) };
  } else if (type === "volume") {
    const noCopy = flag("volume-nocopy");
    mount = { type, ...(source === undefined ? {} : { source }), target, readOnly, ...(noCopy ? { noCopy } : {}) };
  } else if (type === "tmpfs") {
    const [size, mode] = [take("tmpfs-size"), take("tmpfs-mode")];
    mount = {
      ...{ type, target, readOnly },
      ...(size === undefined ? {} : { size: sizeOf("tmpfs-size", size) }),
      ...(mode === undefined ? {} : { mode: modeOf(mode) }),
    };
  } else throw invalidArgument(`--mount ${show(text)}: type is bind, volume or tmpfs`);
  const [unknown] = fields.keys();
  if (unknown !== undefined) throw invalidArgument(`--mount ${show(text)}: a ${type} has no ${show(unknown)}`);
  if (!target.startsWith("/")) throw invalidArgument(`--mount ${show(text)}: say where in the container: target=/PATH`);
  return mount;
}

const aliases: Readonly<Record<string, string>> = {
  src: "source",
  destination: "target",
  dst: "target",
  ro: "readonly",
};

function modeOf(text: string): number {
  if (!/^[0-7]{1,4}$/.test(text)) throw invalidArgument(`a mode is written as 1777, not ${show(text)}`);
  return Number.parseInt(text, 8);
}

/** `--tmpfs /PATH[:size=64m,mode=1777,...]`. @throws ContainerdError */
export function tmpfsFlag(text: string): TmpfsMount {
  const colon = text.indexOf(":");
  const target = colon < 0 ? text : text.slice(0, colon);
  if (!target.startsWith("/")) throw invalidArgument(`--tmpfs ${show(text)}: write it as /PATH[:size=64m,mode=1777]`);
  let mount: TmpfsMount = { type: "tmpfs", target };
  const options: string[] = [];
  for (const option of colon < 0 ? [] : text.slice(colon + 1).split(",")) {
    const [name, value] = pairOf("--tmpfs", option);
    if (name === "size") mount = { ...mount, size: sizeOf("--tmpfs size", value) };
    else if (name === "mode") mount = { ...mount, mode: modeOf(value) };
    else if (/^(rw|ro|(no)?exec|(no)?suid|(no)?dev|(no)?atime|uid=\d+|gid=\d+|nr_inodes=\d+k?)$/.test(option))
      options.push(option);
    else throw invalidArgument(`--tmpfs ${show(text)}: there is no option ${show(option)}`);
  }
  return options.length > 0 ? { ...mount, options } : mount;
}

/** `-p [IP:][HOST:]CONTAINER[/PROTOCOL]`, each a port or a range. @param free gives a port @throws ContainerdError */
export function portFlag(text: string, free: () => number): PortMapping[] {
  const wrong = (why: string): Error =>
    invalidArgument(`--publish ${show(text)}: ${why}; write it as [IP:][HOSTPORT:]PORT[/tcp|udp|sctp]`);
  const [, ip4or6, host = "", container = "", protocol = "tcp"] =
    /^(?:(\[[0-9a-fA-F:.]+\]|[^:[\]]*):)??(?:([0-9-]*):)?([0-9-]+)(?:\/([a-z]+))?$/.exec(text) ?? [];
  if (container === "") throw wrong("it is no port");
  if (protocol !== "tcp" && protocol !== "udp" && protocol !== "sctp") throw wrong(`there is no protocol ${protocol}`);
  const inside = rangeOf(container, wrong);
  const outside = host === "" ? inside.map(() => free()) : rangeOf(host, wrong);
  if (outside.length !== inside.length) throw wrong("both ranges must have as many ports");
  const hostIp = ip4or6?.replace(/^\[(.*)\]$/, "$1");
  if (hostIp && isIP(hostIp) === 0) throw wrong(`${show(hostIp)} is no address`);
  return inside.map((containerPort, index) => {
    return { ...(hostIp ? { hostIp } : {}), hostPort: outside[index] ?? 0, containerPort, protocol };
  });
}

function rangeOf(text: string, wrong: (why: string) => Error): number[] {
  const [, first = "", last = first] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text) ?? [];
  const [from, to] = [Number(first), Number(last)];
  if (first === "" || from < 1 || to > 65_535 || to < from) throw wrong("ports are 1 to 65535");
  if (to - from >= MAX_RANGE) throw wrong(`a range has ${MAX_RANGE} ports at most`);
  return Array.from({ length: to - from + 1 }, (_, index) => from + index);
}

/** `--ulimit nofile=1024[:2048]`; -1 for none. @throws ContainerdError */
export function ulimitFlag(text: string): Ulimit {
  const [, name = "", soft = "", hard = soft] = /^([a-z]+)=(-1|\d+)(?::(-1|\d+))?$/.exec(text) ?? [];
  if (!limits.includes(name)) {
    throw invalidArgument(`--ulimit ${show(text)}: write it as NAME=SOFT[:HARD], with a name of ${limits.join(", ")}`);
  }
  return { name, soft: Number(soft), hard: Number(hard) };
}

const limits =
  "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split(" ");

/** `--device SOURCE[:TARGET][:rwm]`. @throws ContainerdError */
export function deviceFlag(text: string): DeviceOption {
  const [source = "", second, third, ...more] = text.split(":");
  const isPermissions = (part: string | undefined): boolean => part !== undefined && /^[rwm]{1,3}$/.test(part);
  const target = second === undefined || isPermissions(second) ? source : second;
  const permissions = isPermissions(second) ? second : third;
  if (
    !source.startsWith("/") ||
    !target.startsWith("/") ||
    more.length > 0 ||
    (third !== undefined && !isPermissions(third))
  ) {
    throw invalidArgument(`--device ${show(text)}: write it as /dev/NAME[:/dev/NAME][:rwm]`);
  }
  return { source, target, permissions: permissions ?? "rwm" };
}

/** `--restart no|always|on-failure[:N]|unless-stopped`. @throws ContainerdError */
export function restartFlag(text: string): RestartPolicy {
  try {
    const { name, maximum } = parsePolicy(text);
    return { name, maximum };
  } catch {
    throw invalidArgument(`--restart ${show(text)}: it is no, always, on-failure[:TIMES] or unless-stopped`);
  }
}

/** `--network NAME` or docker's `name=NAME,ip=IP,alias=NAME,mac-address=MAC`. @throws ContainerdError */
export function networkFlag(text: string): NetworkAttachment {
  if (!text.includes("=")) return { name: text };
  const fields = text.split(",").map((part) => pairOf("--network", part));
  const all = (name: string): string[] => fields.filter(([key]) => key === name).map(([, value]) => value);
  const unknown = fields.find(([key]) => !["name", "ip", "ip6", "alias", "mac-address"].includes(key));
  const [name, ip, mac] = [all("name")[0], all("ip")[0] ?? all("ip6")[0], all("mac-address")[0]];
  if (unknown !== undefined || name === undefined) {
    throw invalidArgument(`--network ${show(text)}: write it as name=NAME[,ip=ADDRESS][,alias=NAME][,mac-address=MAC]`);
  }
  const aliases = all("alias");
  return {
    name,
    ...(aliases.length > 0 ? { aliases } : {}),
    ...(ip === undefined ? {} : { ip }),
    ...(mac === undefined ? {} : { mac }),
  };
}

/** `--log-driver` and `--log-opt`. @throws ContainerdError */
export function logFlags(driver: string | undefined, opts: readonly string[]): LogOptions | undefined {
  if (driver === undefined && opts.length === 0) return undefined;
  const name = driver === "json-file" ? "json" : (driver ?? "json");
  if (/^(file|binary):\/\//.test(name)) return { driver: "raw", uri: name };
  if (name !== "json" && name !== "cri" && name !== "raw" && name !== "ring" && name !== "none") {
    throw invalidArgument(
      `--log-driver ${show(name)}: it is json, cri, raw, ring, none, file:///PATH or binary:///PROGRAM`,
    );
  }
  let options: LogOptions = { driver: name };
  for (const opt of opts) {
    const [key, value] = pairOf("--log-opt", opt);
    if (key === "max-size") options = { ...options, maxSize: sizeOf("--log-opt max-size", value) };
    else if (key === "max-file") options = { ...options, maxFile: integerOf("--log-opt max-file", value, 1) };
    else throw invalidArgument(`--log-opt ${show(opt)}: there are max-size and max-file`);
  }
  return options;
}

/** Bytes of keys such as `ctrl-p,ctrl-q`; empty for none. @throws ContainerdError */
export function detachKeysOf(text: string): number[] {
  if (text === "") return [];
  return text.split(",").map((key) => {
    if (/^[\x20-\x7e]$/.test(key)) return key.charCodeAt(0);
    const [, letter] = /^ctrl-([a-z@[\\\]^_])$/i.exec(key) ?? [];
    if (letter === undefined) {
      throw invalidArgument(`--detach-keys ${show(text)}: write keys as a or ctrl-p, with commas between them`);
    }
    return letter.toUpperCase().charCodeAt(0) & 0x1f;
  });
}
