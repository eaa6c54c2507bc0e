/** What a value of the configuration may be: each kind says what it expects and reads it, or refuses. */

import { isAbsolute, normalize } from "node:path";

/** A kind of value. */
export interface Kind<T> {
  /** What is expected, for messages and documentation: `a path`. */
  readonly expected: string;
  /** The value as the daemon uses it; undefined when it is not of this kind. */
  read(value: unknown): T | undefined;
}

/** A value of TOML that a default may have. */
export type TomlValue = string | number | boolean | readonly string[] | Readonly<Record<string, unknown>>;

/** Any text on one line. */
export const text: Kind<string> = {
  expected: "a text",
  read: (value) => (typeof value === "string" && !hasControls(value) ? value : undefined),
};

/** Any number of texts. */
export const textList: Kind<readonly string[]> = {
  expected: "a list of texts",
  read: (value) =>
    Array.isArray(value) && value.every((item) => text.read(item) !== undefined) ? (value as string[]) : undefined,
};

/** An absolute path, made free of `.` and `..`. */
export const path: Kind<string> = {
  expected: 'an absolute path, such as "/run/berth"',
  read: (value) => (typeof value === "string" && isPath(value) ? normalize(value).replace(/(.)\/+$/, "$1") : undefined),
};

/** An absolute path, or nothing. */
export const optionalPath: Kind<string> = {
  expected: 'an absolute path, or ""',
  read: (value) => (value === "" ? "" : path.read(value)),
};

/** Where something is listened for: a unix socket by its path, or an address and port of TCP; or nothing. */
export const listenAddress: Kind<string> = {
  expected: 'the path of a unix socket or an address of TCP, such as "127.0.0.1:1338", or ""',
  read: (value) => {
    if (value === "") return "";
    if (typeof value !== "string") return undefined;
    const port = /^(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]*):(\d{1,5})$/.exec(value)?.[1];
    if (port !== undefined) return Number(port) <= 65_535 ? value : undefined;
    return path.read(value);
  },
};

/** A directory list as PATH has it. */
export const pathList: Kind<readonly string[]> = {
  expected: 'absolute paths with ":" between them, or ""',
  read: (value) => {
    if (typeof value !== "string") return undefined;
    const paths = value.split(":").filter((part) => part !== "");
    return paths.every(isPath) ? paths : undefined;
  },
};

/** Ranges of addresses of IPv4. */
export const subnetList: Kind<readonly string[]> = {
  expected: 'subnets with spaces between them, such as "10.210.0.0/16 172.30.0.0/16"',
  read: (value) => {
    if (typeof value !== "string") return undefined;
    const subnets = value.split(/\s+/).filter((part) => part !== "");
    return subnets.length > 0 && subnets.every(isSubnet) ? subnets : undefined;
  },
};

function isSubnet(text: string): boolean {
  const [, address = "", bits = ""] = /^(\d{1,3}(?:\.\d{1,3}){3})\/(\d{1,2})$/.exec(text) ?? [];
  return address !== "" && Number(bits) <= 30 && address.split(".").every((byte) => Number(byte) < 256);
}

export const boolean: Kind<boolean> = {
  expected: "true or false",
  read: (value) => (typeof value === "boolean" ? value : undefined),
};

/** A whole number in a range, ends included. */
export function integer(from: number, to: number): Kind<number> {
  return {
    expected: `a whole number from ${from} to ${to}`,
    read: (value) => (Number.isInteger(value) && within(value as number, from, to) ? (value as number) : undefined),
  };
}

/** A number in a range, ends included. */
export function decimal(from: number, to: number): Kind<number> {
  return {
    expected: `a number from ${from} to ${to}`,
    read: (value) => (typeof value === "number" && within(value, from, to) ? value : undefined),
  };
}

const byteUnits: Readonly<Record<string, number>> = {
  "": 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};

/** A size, read into bytes. */
export function size(from: number, to: number): Kind<number> {
  return {
    expected: `a size from "${showSize(from)}" to "${showSize(to)}", or a number of bytes`,
    read: (value) => inRange(typeof value === "string" ? measure(value, byteUnits) : value, from, to),
  };
}

/** How full a file system may be: by the part of it that is used, or by the room that is left. */
export type Watermark = { readonly percent: number } | { readonly free: number };

/** A watermark: `"85%"` used, or `"2GiB"` left. */
export const watermark: Kind<Watermark> = {
  expected: 'the part of a file system that is used, such as "85%", or the room that is left, such as "2GiB"',
  read: (value) => {
    if (typeof value !== "string") return undefined;
    const [, percent] = /^(\d{1,3}(?:\.\d+)?)%$/.exec(value) ?? [];
    if (percent !== undefined) return within(Number(percent), 1, 100) ? { percent: Number(percent) } : undefined;
    const free = inRange(measure(value, byteUnits), 1, 2 ** 60);
    return free === undefined ? undefined : { free };
  },
};

const timeUnits: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** A size in the largest unit that divides it. */
function showSize(bytes: number): string {
  const fitting = Object.entries(byteUnits).filter(([name, factor]) => name.endsWith("iB") && bytes % factor === 0);
  const [unit, factor] = fitting.at(-1) ?? ["", 1];
  return `${bytes / factor}${unit}`;
}

/** A length of time as Go writes it, read into milliseconds; at most a day. */
export const duration: Kind<number> = {
  expected: 'a time such as "100ms", "10s", "5m" or "1h", at most a day',
  read: (value) => {
    if (typeof value !== "string") return undefined;
    if (value === "0") return 0;
    const parts = value.match(/\d+(?:\.\d+)?(?:ms|s|m|h)/g) ?? [];
    if (parts.join("") !== value || parts.length === 0) return undefined;
    const ms = parts.reduce((sum, part) => sum + (measure(part, timeUnits) ?? Number.NaN), 0);
    return within(ms, 0, 86_400_000) ? ms : undefined;
  },
};

/** One of some words. */
export function oneOf<const W extends string>(...words: readonly W[]): Kind<W> {
  return {
    expected: words.map((word) => JSON.stringify(word)).join(" or "),
    read: (value) => words.find((word) => word === value),
  };
}

/** Levels of the log; containerd's further names for them are understood. */
export const level: Kind<"debug" | "info" | "warn" | "error"> = {
  expected: '"debug", "info", "warn" or "error"',
  read: (value) => {
    switch (value) {
      case "trace":
      case "debug":
        return "debug";
      case "info":
        return "info";
      case "warn":
      case "warning":
        return "warn";
      case "error":
      case "fatal":
      case "panic":
        return "error";
      default:
        return undefined;
    }
  },
};

/** A table whose keys this configuration does not know. */
export const table: Kind<Readonly<Record<string, unknown>>> = {
  expected: "a table",
  read: (value) => (isTable(value) ? value : undefined),
};

/** True for a table of TOML, and not for its dates and lists. */
export function isTable(value: unknown): value is Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

function measure(value: string, units: Readonly<Record<string, number>>): number | undefined {
  const [, count, unit = ""] = /^(\d+(?:\.\d+)?) ?([A-Za-z]*)$/.exec(value) ?? [];
  const factor = Object.hasOwn(units, unit) ? units[unit] : undefined;
  return count === undefined || factor === undefined ? undefined : Math.round(Number(count) * factor);
}

function inRange(value: unknown, from: number, to: number): number | undefined {
  return Number.isInteger(value) && within(value as number, from, to) ? (value as number) : undefined;
}

function within(value: number, from: number, to: number): boolean {
  return value >= from && value <= to;
}

function isPath(value: string): boolean {
  return isAbsolute(value) && !hasControls(value);
}

function hasControls(value: string): boolean {
  return /\p{Cc}/u.test(value);
}
