/**
 * What cgroup files hold, read exactly: 64-bit counters, `key value` lists, pressure lines, rdma and io lines.
 * Upstream for the rules: cgroups v3.1.3 cgroup1/utils.go and cgroup2/utils.go.
 */

/** An unsigned 64-bit value as protobufjs takes it: a number where that is exact, else the two halves. */
export type Uint64 = number | { low: number; high: number; unsigned: boolean };

/** 2^64-1: what cgroup v2 statistics report for "max". */
export const maxUint64: Uint64 = { low: -1, high: -1, unsigned: true };

/** What rdma entries report for "max". */
const maxUint32 = 0xffffffff;

/** A protobufjs value for 0 <= `value` < 2^64. */
export function fromBigInt(value: bigint): Uint64 {
  if (value <= BigInt(Number.MAX_SAFE_INTEGER)) {
    return Number(value);
  }
  return { low: Number(value & 0xffffffffn) | 0, high: Number(value >> 32n) | 0, unsigned: true };
}

/** The value as a bigint, for arithmetic that must stay exact. */
export function toBigInt(value: Uint64): bigint {
  if (typeof value === "number") {
    return BigInt(value);
  }
  return (BigInt(value.high >>> 0) << 32n) | BigInt(value.low >>> 0);
}

/** `value * factor`, exact, wrapped at 64 bits as Go wraps it. */
export function multiply(value: Uint64, factor: number): Uint64 {
  if (typeof value === "number" && value * factor <= Number.MAX_SAFE_INTEGER) {
    return value * factor;
  }
  return fromBigInt(BigInt.asUintN(64, toBigInt(value) * BigInt(factor)));
}

/** The sum of two counters, exact, wrapped at 64 bits. */
export function add(a: Uint64, b: Uint64): Uint64 {
  return fromBigInt(BigInt.asUintN(64, toBigInt(a) + toBigInt(b)));
}

/** Reads decimal digits; a negative number counts as 0, as upstream has it. Undefined for anything else. */
export function parseUint64(text: string): Uint64 | undefined {
  const negative = text.startsWith("-");
  const start = negative ? 1 : 0;
  if (text.length === start) {
    return undefined;
  }
  let value = 0;
  for (let i = start; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) {
      return undefined;
    }
    value = value * 10 + digit;
  }
  if (negative) {
    return 0;
  }
  if (value <= Number.MAX_SAFE_INTEGER) {
    return value;
  }
  const exact = BigInt(text);
  return exact > 0xffffffffffffffffn ? undefined : fromBigInt(exact);
}

/** The value of a one-number file; `max` for the word "max"; undefined when the file is absent or holds no number. */
export function parseValue(text: string | undefined, max: Uint64): Uint64 | undefined {
  const word = text?.trim();
  return word === undefined ? undefined : word === "max" ? max : parseUint64(word);
}

/** The words of a line, between spaces and tabs. */
export function words(line: string): string[] {
  return line
    .replaceAll("\t", " ")
    .split(" ")
    .filter((word) => word !== "");
}

/** Reads a file of `key value` lines; lines of another form are passed over. */
export function parseKeyValues(text: string): Map<string, Uint64> {
  const values = new Map<string, Uint64>();
  for (const line of text.split("\n")) {
    const gap = line.indexOf(" ");
    const value = gap > 0 ? parseUint64(line.slice(gap + 1).trim()) : undefined;
    if (value !== undefined) {
      values.set(line.slice(0, gap), value);
    }
  }
  return values;
}

/** One line of a pressure file: averages in percent, total in microseconds. */
export interface Pressure {
  avg10: number;
  avg60: number;
  avg300: number;
  total: Uint64;
}

/** A pressure file: time in which some, or all, tasks waited. */
export interface PressureStall {
  some?: Pressure;
  full?: Pressure;
}

/** Reads `some avg10=0.00 avg60=0.00 avg300=0.00 total=0` lines; undefined when the kernel has no pressure file. */
export function parsePressure(text: string | undefined): PressureStall | undefined {
  if (text === undefined) {
    return undefined;
  }
  const stall: PressureStall = {};
  for (const line of text.split("\n")) {
    const [kind, ...pairs] = words(line);
    if (kind !== "some" && kind !== "full") {
      continue;
    }
    const pressure: Pressure = { avg10: 0, avg60: 0, avg300: 0, total: 0 };
    for (const pair of pairs) {
      const equals = pair.indexOf("=");
      const key = pair.slice(0, equals);
      const value = pair.slice(equals + 1);
      if (key === "total") {
        pressure.total = parseUint64(value) ?? 0;
      } else if (key === "avg10" || key === "avg60" || key === "avg300") {
        pressure[key] = Number(value);
      }
    }
    stall[kind] = pressure;
  }
  return stall;
}

/** One device line of rdma.current or rdma.max. */
export interface RdmaEntry {
  device: string;
  hcaHandles: number;
  hcaObjects: number;
}

/** Reads `mlx4_0 hca_handle=2 hca_object=2000` lines; "max" is 2^32-1. */
export function parseRdma(text: string): RdmaEntry[] {
  const entries: RdmaEntry[] = [];
  for (const line of text.split("\n")) {
    const [device, ...pairs] = words(line);
    if (device === undefined || pairs.length !== 2) {
      continue;
    }
    const entry: RdmaEntry = { device, hcaHandles: 0, hcaObjects: 0 };
    for (const pair of pairs) {
      const [key, word = ""] = pair.split("=");
      const value = word === "max" ? maxUint32 : Number(parseUint64(word) ?? 0);
      if (key === "hca_handle") {
        entry.hcaHandles = value;
      } else if (key === "hca_object") {
        entry.hcaObjects = value;
      }
    }
    entries.push(entry);
  }
  return entries;
}

/**
 * The name that hugetlb files use for a directory of /sys/kernel/mm/hugepages: "hugepages-2048kB" is "2MB".
 * Undefined for a name of another form.
 */
export function hugePageName(directory: string): string | undefined {
  const prefix = "hugepages-";
  if (!directory.startsWith(prefix) || !directory.endsWith("kB")) {
    return undefined;
  }
  const size = parseUint64(directory.slice(prefix.length, -2));
  if (typeof size !== "number") {
    return undefined;
  }
  if (size >= 1 << 20) {
    return `${Math.floor(size / (1 << 20))}GB`;
  }
  return size >= 1 << 10 ? `${Math.floor(size / (1 << 10))}MB` : `${size}KB`;
}
