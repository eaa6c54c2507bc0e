/** What containers use: read out of the metrics of tasks, whichever cgroup version the machine has. */

import { readFileSync, readlinkSync } from "node:fs";
import type { google } from "../../../proto/gen/supervisor.js";
import { typeName } from "../../../proto/typeurl.ts";
import type { Api } from "../../client/api.ts";

/** What one container has used up to now, and uses now. */
export interface Usage {
  /** When it was read: milliseconds of a clock that nobody sets. */
  readonly at: number;
  /** Nanoseconds of CPU time. */
  readonly cpu: number;
  /** Bytes, without what the kernel would give back at once (files that are not in use). */
  readonly memory: number;
  /** Bytes; those of the machine when the container has no limit. */
  readonly memoryLimit: number;
  /** Bytes of block devices. */
  readonly read: number;
  readonly written: number;
  readonly pids: number;
}

/** Bytes over the network. */
export interface Traffic {
  readonly received: number;
  readonly sent: number;
}

type Any = google.protobuf.Any.$Properties;

/** How long a daemon may take to ask its shims. */
const METRICS_MS = 10_000;

/** Bytes of memory of this machine. */
export function machineMemory(text = readFileSync("/proc/meminfo", "utf8")): { total: number; available: number } {
  const kilobytes = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(text)?.[1] ?? 0);
  return { total: kilobytes("MemTotal") * 1024, available: kilobytes("MemAvailable") * 1024 };
}

/** Usage of tasks by the container's id; those whose metrics cannot be read are left out. @throws CallError */
export async function usageOf(api: Api, namespace: string, ids: readonly string[] = []): Promise<Map<string, Usage>> {
  const filters = ids.map((id) => `id==${JSON.stringify(id)}`);
  const { metrics } = await api.call(
    "containerd.services.tasks.v1.Tasks",
    "Metrics",
    { filters },
    { namespace, deadlineMs: METRICS_MS },
  );
  const at = performance.now();
  const { total } = machineMemory();
  const found = new Map<string, Usage>();
  for (const { id, data } of metrics) {
    const usage = data && (await decodeUsage(data, at, total));
    if (id && usage) found.set(id, usage);
  }
  return found;
}

/** @param total memory of the machine */
export async function decodeUsage(data: Any, at: number, total: number): Promise<Usage | undefined> {
  const value = data.value ?? new Uint8Array();
  switch (typeName(data)) {
    case "io.containerd.cgroups.v1.Metrics": {
      const { io } = await import("../../../proto/gen/cgroups1.js");
      return usage1(io.containerd.cgroups.v1.Metrics.decode(value), at, total);
    }
    case "io.containerd.cgroups.v2.Metrics": {
      const { io } = await import("../../../proto/gen/cgroups2.js");
      return usage2(io.containerd.cgroups.v2.Metrics.decode(value), at, total);
    }
    default:
      return undefined;
  }
}

type Metrics1 = import("../../../proto/gen/cgroups1.js").io.containerd.cgroups.v1.Metrics.$Properties;
type Metrics2 = import("../../../proto/gen/cgroups2.js").io.containerd.cgroups.v2.Metrics.$Properties;

function usage1({ cpu, memory, blkio, pids }: Metrics1, at: number, total: number): Usage {
  const bytes = (wanted: string): number =>
    (blkio?.ioServiceBytesRecursive ?? [])
      .filter(({ op }) => op?.toLowerCase() === wanted)
      .reduce((sum, { value }) => sum + Number(value ?? 0), 0);
  const used = Number(memory?.usage?.usage ?? 0);
  return {
    at,
    cpu: Number(cpu?.usage?.total ?? 0),
    memory: withoutCache(used, Number(memory?.totalInactiveFile ?? 0)),
    memoryLimit: limitOf(Number(memory?.usage?.limit ?? 0), total),
    read: bytes("read"),
    written: bytes("write"),
    pids: Number(pids?.current ?? 0),
  };
}

function usage2({ cpu, memory, io, pids }: Metrics2, at: number, total: number): Usage {
  const sum = (field: "rbytes" | "wbytes"): number =>
    (io?.usage ?? []).reduce((all, entry) => all + Number(entry[field] ?? 0), 0);
  return {
    at,
    cpu: Number(cpu?.usageUsec ?? 0) * 1000,
    memory: withoutCache(Number(memory?.usage ?? 0), Number(memory?.inactiveFile ?? 0)),
    memoryLimit: limitOf(Number(memory?.usageLimit ?? 0), total),
    read: sum("rbytes"),
    written: sum("wbytes"),
    pids: Number(pids?.current ?? 0),
  };
}

function withoutCache(used: number, cache: number): number {
  return cache < used ? used - cache : used;
}

/** "No limit" is written as 0 or as a huge number. */
function limitOf(limit: number, total: number): number {
  return limit <= 0 || limit > total ? total : limit;
}

/**
 * Per cent of one CPU between two readings: 200 are two CPUs. 0 where the second reading is of another life of the
 * container, whose count began again.
 */
export function cpuPercent(before: Pick<Usage, "at" | "cpu"> | undefined, after: Pick<Usage, "at" | "cpu">): number {
  if (before === undefined) return 0;
  const ms = after.at - before.at;
  const used = after.cpu - before.cpu;
  return ms <= 0 || used <= 0 ? 0 : (used / 1e6 / ms) * 100;
}

/**
 * What went over the network interfaces of a container, as its first process sees them. Undefined where it cannot be
 * read, and for a container that shares this machine's network.
 */
export function trafficOf(pid: number): Traffic | undefined {
  if (pid <= 0) return undefined;
  try {
    if (namespaceOf(pid) === namespaceOf("self")) return undefined;
    return parseTraffic(readFileSync(`/proc/${pid}/net/dev`, "utf8"));
  } catch {
    return undefined;
  }
}

function namespaceOf(pid: number | string): string {
  return readlinkSync(`/proc/${pid}/ns/net`);
}

/** Sums all interfaces of /proc/PID/net/dev but the loopback. */
export function parseTraffic(text: string): Traffic {
  let [received, sent] = [0, 0];
  for (const line of text.split("\n").slice(2)) {
    const [name = "", fields = ""] = line.split(":");
    if (name.trim() === "lo" || fields === "") continue;
    const numbers = fields.trim().split(/\s+/).map(Number);
    received += numbers[0] ?? 0;
    sent += numbers[8] ?? 0;
  }
  return { received, sent };
}
