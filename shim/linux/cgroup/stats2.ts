/**
 * cgroup v2 statistics as `io.containerd.cgroups.v2.Metrics`. Upstream: cgroups v3.1.3 cgroup2/{manager,utils}.go. As
 * there, `pids`, `cpu`, `memory`, `io` and `rdma` are always present, empty where their controller is off, because
 * readers of the message rely on it; `network` stays unset.
 */

import type { io } from "../../../proto/gen/cgroups2.js";
import type { CgroupV2 } from "./find.ts";
import { listNames, readText } from "./kernel.ts";
import {
  add,
  hugePageName,
  maxUint64,
  parseKeyValues,
  parsePressure,
  parseRdma,
  parseUint64,
  parseValue,
  type Uint64,
} from "./parse.ts";

type Messages = typeof io.containerd.cgroups.v2;
type Properties<Name extends keyof Messages> = ConstructorParameters<Messages[Name]>[0] & object;
export type MetricsV2 = Properties<"Metrics">;
type Memory = Properties<"MemoryStat">;
type IOEntry = Properties<"IOEntry">;

const cpuFields = [
  ["usageUsec", "usage_usec"],
  ["userUsec", "user_usec"],
  ["systemUsec", "system_usec"],
  ["nrPeriods", "nr_periods"],
  ["nrThrottled", "nr_throttled"],
  ["throttledUsec", "throttled_usec"],
  ["nrBursts", "nr_bursts"],
  ["burstUsec", "burst_usec"],
] as const satisfies readonly (readonly [keyof Properties<"CPUStat">, string])[];

const memoryFields = [
  ["anon", "anon"],
  ["file", "file"],
  ["kernelStack", "kernel_stack"],
  ["slab", "slab"],
  ["sock", "sock"],
  ["shmem", "shmem"],
  ["fileMapped", "file_mapped"],
  ["fileDirty", "file_dirty"],
  ["fileWriteback", "file_writeback"],
  ["anonThp", "anon_thp"],
  ["inactiveAnon", "inactive_anon"],
  ["activeAnon", "active_anon"],
  ["inactiveFile", "inactive_file"],
  ["activeFile", "active_file"],
  ["unevictable", "unevictable"],
  ["slabReclaimable", "slab_reclaimable"],
  ["slabUnreclaimable", "slab_unreclaimable"],
  ["pgfault", "pgfault"],
  ["pgmajfault", "pgmajfault"],
  ["workingsetRefault", "workingset_refault"],
  ["workingsetActivate", "workingset_activate"],
  ["workingsetNodereclaim", "workingset_nodereclaim"],
  ["pgrefill", "pgrefill"],
  ["pgscan", "pgscan"],
  ["pgsteal", "pgsteal"],
  ["pgactivate", "pgactivate"],
  ["pgdeactivate", "pgdeactivate"],
  ["pglazyfree", "pglazyfree"],
  ["pglazyfreed", "pglazyfreed"],
  ["thpFaultAlloc", "thp_fault_alloc"],
  ["thpCollapseAlloc", "thp_collapse_alloc"],
] as const satisfies readonly (readonly [keyof Memory, string])[];

const memoryFiles = [
  ["usage", "memory.current"],
  ["usageLimit", "memory.max"],
  ["maxUsage", "memory.peak"],
  ["swapUsage", "memory.swap.current"],
  ["swapLimit", "memory.swap.max"],
  ["swapMaxUsage", "memory.swap.peak"],
] as const satisfies readonly (readonly [keyof Memory, string])[];

const eventFields = [
  ["low", "low"],
  ["high", "high"],
  ["max", "max"],
  ["oom", "oom"],
  ["oomKill", "oom_kill"],
  ["oomGroupKill", "oom_group_kill"],
] as const satisfies readonly (readonly [keyof Properties<"MemoryEvents">, string])[];

/** "max" is 2^64-1 in v2 messages. */
function value(path: string): Uint64 | undefined {
  return parseValue(readText(path), maxUint64);
}

function readCpu(directory: string): Properties<"CPUStat"> {
  const stat = parseKeyValues(readText(`${directory}/cpu.stat`) ?? "");
  const cpu: Properties<"CPUStat"> = { psi: parsePressure(readText(`${directory}/cpu.pressure`)) ?? null };
  for (const [field, key] of cpuFields) {
    cpu[field] = stat.get(key) ?? 0;
  }
  return cpu;
}

function readMemory(directory: string): Memory {
  const stat = parseKeyValues(readText(`${directory}/memory.stat`) ?? "");
  const memory: Memory = { psi: parsePressure(readText(`${directory}/memory.pressure`)) ?? null };
  for (const [field, key] of memoryFields) {
    // Linux 5.9 split the workingset counters in two and has no sum.
    const [anon, file] = [stat.get(`${key}_anon`), stat.get(`${key}_file`)];
    memory[field] = stat.get(key) ?? (anon !== undefined && file !== undefined ? add(anon, file) : 0);
  }
  for (const [field, file] of memoryFiles) {
    memory[field] = value(`${directory}/${file}`) ?? 0;
  }
  return memory;
}

function readMemoryEvents(directory: string): Properties<"MemoryEvents"> | undefined {
  const stat = parseKeyValues(readText(`${directory}/memory.events`) ?? "");
  if (stat.size === 0) {
    return undefined;
  }
  const events: Properties<"MemoryEvents"> = {};
  for (const [field, key] of eventFields) {
    events[field] = stat.get(key) ?? 0;
  }
  return events;
}

/** Reads `254:0 rbytes=4096 wbytes=0 rios=1 wios=0 ...` lines; a device with no counters is passed over. */
function parseIo(text: string): IOEntry[] {
  const entries: IOEntry[] = [];
  for (const line of text.split("\n")) {
    const [device = "", ...pairs] = line.split(" ");
    const [major, minor] = device.split(":").map(parseUint64);
    if (pairs.length === 0 || major === undefined || minor === undefined) {
      continue;
    }
    const entry: IOEntry = { major, minor, rbytes: 0, wbytes: 0, rios: 0, wios: 0 };
    for (const pair of pairs) {
      const equals = pair.indexOf("=");
      const key = pair.slice(0, equals);
      if (key === "rbytes" || key === "wbytes" || key === "rios" || key === "wios") {
        entry[key] = parseUint64(pair.slice(equals + 1)) ?? 0;
      }
    }
    entries.push(entry);
  }
  return entries;
}

function readHugetlb(directory: string, root: string): Properties<"HugeTlbStat">[] {
  const stats: Properties<"HugeTlbStat">[] = [];
  for (const name of listNames(`${root}/sys/kernel/mm/hugepages`).sort()) {
    const pagesize = hugePageName(name);
    const file = `${directory}/hugetlb.${pagesize}.`;
    const current = pagesize === undefined ? undefined : value(`${file}current`);
    if (pagesize !== undefined && current !== undefined) {
      // The events file holds `max N`: how often the limit was hit. (Upstream reads it as a bare number and gets 0.)
      const failcnt = parseKeyValues(readText(`${file}events`) ?? "").get("max") ?? 0;
      stats.push({ current, max: value(`${file}max`) ?? 0, pagesize, failcnt });
    }
  }
  return stats;
}

/** Reads every controller's files; what belongs to one that is off is zero, empty or left out. */
export function readMetricsV2(cgroup: CgroupV2): MetricsV2 {
  const { directory, root } = cgroup;
  return {
    pids: { current: value(`${directory}/pids.current`) ?? 0, limit: value(`${directory}/pids.max`) ?? 0 },
    cpu: readCpu(directory),
    memory: readMemory(directory),
    rdma: {
      current: parseRdma(readText(`${directory}/rdma.current`) ?? ""),
      limit: parseRdma(readText(`${directory}/rdma.max`) ?? ""),
    },
    io: {
      usage: parseIo(readText(`${directory}/io.stat`) ?? ""),
      psi: parsePressure(readText(`${directory}/io.pressure`)) ?? null,
    },
    hugetlb: readHugetlb(directory, root),
    memoryEvents: readMemoryEvents(directory) ?? null,
  };
}
