/**
 * cgroup v1 statistics as `io.containerd.cgroups.v1.Metrics`. Upstream: cgroups v3.1.3 cgroup1/{blkio,cpu,cpuacct,
 * hugetlb,memory,pids,rdma}.go. `network` and `cgroup_stats` stay unset, as in containerd's own shim.
 */

import type { io } from "../../../proto/gen/cgroups1.js";
import type { CgroupV1 } from "./find.ts";
import { listNames, readText } from "./kernel.ts";
import {
  hugePageName,
  multiply,
  parseKeyValues,
  parseRdma,
  parseUint64,
  parseValue,
  type Uint64,
  words,
} from "./parse.ts";

type Messages = typeof io.containerd.cgroups.v1;
type Properties<Name extends keyof Messages> = ConstructorParameters<Messages[Name]>[0] & object;
export type MetricsV1 = Properties<"Metrics">;
type Memory = Properties<"MemoryStat">;
type MemoryEntry = Properties<"MemoryEntry">;
type BlkIO = Properties<"BlkIOStat">;
type BlkIOEntry = Properties<"BlkIOEntry">;

/** cpuacct.stat counts in USER_HZ ticks, 100 a second on every Linux architecture; the message wants nanoseconds. */
const nanosecondsPerTick = 10_000_000;

const memoryFields = [
  ["cache", "cache"],
  ["rss", "rss"],
  ["rssHuge", "rss_huge"],
  ["mappedFile", "mapped_file"],
  ["dirty", "dirty"],
  ["writeback", "writeback"],
  ["pgPgIn", "pgpgin"],
  ["pgPgOut", "pgpgout"],
  ["pgFault", "pgfault"],
  ["pgMajFault", "pgmajfault"],
  ["inactiveAnon", "inactive_anon"],
  ["activeAnon", "active_anon"],
  ["inactiveFile", "inactive_file"],
  ["activeFile", "active_file"],
  ["unevictable", "unevictable"],
  ["hierarchicalMemoryLimit", "hierarchical_memory_limit"],
  ["hierarchicalSwapLimit", "hierarchical_memsw_limit"],
  ["totalCache", "total_cache"],
  ["totalRss", "total_rss"],
  ["totalRssHuge", "total_rss_huge"],
  ["totalMappedFile", "total_mapped_file"],
  ["totalDirty", "total_dirty"],
  ["totalWriteback", "total_writeback"],
  ["totalPgPgIn", "total_pgpgin"],
  ["totalPgPgOut", "total_pgpgout"],
  ["totalPgFault", "total_pgfault"],
  ["totalPgMajFault", "total_pgmajfault"],
  ["totalInactiveAnon", "total_inactive_anon"],
  ["totalActiveAnon", "total_active_anon"],
  ["totalInactiveFile", "total_inactive_file"],
  ["totalActiveFile", "total_active_file"],
  ["totalUnevictable", "total_unevictable"],
] as const satisfies readonly (readonly [keyof Memory, string])[];

/** The files of the CFQ scheduler, which also fill what the throttling layer does not know. */
const cfqFiles = [
  ["sectorsRecursive", "sectors_recursive"],
  ["ioServiceBytesRecursive", "io_service_bytes_recursive"],
  ["ioServicedRecursive", "io_serviced_recursive"],
  ["ioQueuedRecursive", "io_queued_recursive"],
  ["ioServiceTimeRecursive", "io_service_time_recursive"],
  ["ioWaitTimeRecursive", "io_wait_time_recursive"],
  ["ioMergedRecursive", "io_merged_recursive"],
  ["ioTimeRecursive", "time_recursive"],
] as const satisfies readonly (readonly [keyof BlkIO, string])[];

const throttleFiles = [
  ["ioServicedRecursive", "throttle.io_serviced"],
  ["ioServiceBytesRecursive", "throttle.io_service_bytes"],
] as const satisfies readonly (readonly [keyof BlkIO, string])[];

/** "max" counts as 0 in v1 messages. */
function value(path: string): Uint64 | undefined {
  return parseValue(readText(path), 0);
}

function readHugetlb(directory: string, root: string): Properties<"HugetlbStat">[] {
  const stats: Properties<"HugetlbStat">[] = [];
  for (const name of listNames(`${root}/sys/kernel/mm/hugepages`).sort()) {
    const pagesize = hugePageName(name);
    const file = `${directory}/hugetlb.${pagesize}.`;
    const usage = pagesize === undefined ? undefined : value(`${file}usage_in_bytes`);
    if (pagesize !== undefined && usage !== undefined) {
      const max = value(`${file}max_usage_in_bytes`) ?? 0;
      stats.push({ usage, max, failcnt: value(`${file}failcnt`) ?? 0, pagesize });
    }
  }
  return stats;
}

function readPids(directory: string): Properties<"PidsStat"> | undefined {
  const current = value(`${directory}/pids.current`);
  return current === undefined ? undefined : { current, limit: value(`${directory}/pids.max`) ?? 0 };
}

function readThrottling(directory: string): Properties<"Throttle"> {
  const stat = parseKeyValues(readText(`${directory}/cpu.stat`) ?? "");
  return {
    periods: stat.get("nr_periods") ?? 0,
    throttledPeriods: stat.get("nr_throttled") ?? 0,
    throttledTime: stat.get("throttled_time") ?? 0,
  };
}

function readUsage(directory: string): Properties<"CPUUsage"> {
  const ticks = parseKeyValues(readText(`${directory}/cpuacct.stat`) ?? "");
  const perCpu: Uint64[] = [];
  for (const word of words((readText(`${directory}/cpuacct.usage_percpu`) ?? "").trim())) {
    perCpu.push(parseUint64(word) ?? 0);
  }
  return {
    total: value(`${directory}/cpuacct.usage`) ?? 0,
    user: multiply(ticks.get("user") ?? 0, nanosecondsPerTick),
    kernel: multiply(ticks.get("system") ?? 0, nanosecondsPerTick),
    perCpu,
  };
}

function readMemoryEntry(prefix: string): MemoryEntry {
  return {
    limit: value(`${prefix}limit_in_bytes`) ?? 0,
    usage: value(`${prefix}usage_in_bytes`) ?? 0,
    max: value(`${prefix}max_usage_in_bytes`) ?? 0,
    failcnt: value(`${prefix}failcnt`) ?? 0,
  };
}

function readMemory(directory: string): Memory | undefined {
  const text = readText(`${directory}/memory.stat`);
  if (text === undefined) {
    return undefined;
  }
  const stat = parseKeyValues(text);
  const memory: Memory = {};
  for (const [field, key] of memoryFields) {
    memory[field] = stat.get(key) ?? 0;
  }
  memory.usage = readMemoryEntry(`${directory}/memory.`);
  memory.swap = readMemoryEntry(`${directory}/memory.memsw.`);
  memory.kernel = readMemoryEntry(`${directory}/memory.kmem.`);
  memory.kernelTcp = readMemoryEntry(`${directory}/memory.kmem.tcp.`);
  return memory;
}

function readOomControl(directory: string): Properties<"MemoryOomControl"> | undefined {
  const text = readText(`${directory}/memory.oom_control`);
  if (text === undefined) {
    return undefined;
  }
  const control = parseKeyValues(text);
  return {
    oomKillDisable: control.get("oom_kill_disable") ?? 0,
    underOom: control.get("under_oom") ?? 0,
    oomKill: control.get("oom_kill") ?? 0,
  };
}

/** Reads `254:0 Read 4096` lines (without an operation in some files); the closing `Total` line is passed over. */
function parseBlkio(text: string): BlkIOEntry[] {
  const entries: BlkIOEntry[] = [];
  for (const line of text.split("\n")) {
    const fields = words(line.replace(":", " "));
    const [major, minor, amount] = [fields[0], fields[1], fields.at(-1)].map((word) => parseUint64(word ?? ""));
    if (fields.length >= 3 && major !== undefined && minor !== undefined && amount !== undefined) {
      entries.push({ op: fields.length === 4 ? (fields[2] ?? "") : "", device: "", major, minor, value: amount });
    }
  }
  return entries;
}

/** "major:minor" to device file, the first name of a device counting. */
function readDevices(root: string): Map<string, string> {
  const devices = new Map<string, string>();
  for (const line of (readText(`${root}/proc/partitions`) ?? "").split("\n")) {
    const [major, minor, , name] = words(line);
    const key = `${major}:${minor}`;
    if (name !== undefined && major !== "major" && !devices.has(key)) {
      devices.set(key, `/dev/${name}`);
    }
  }
  return devices;
}

function readBlkio(directory: string, root: string): BlkIO | undefined {
  const blkio: BlkIO = {};
  let present = false;
  const all: BlkIOEntry[] = [];
  const fill = (field: Exclude<keyof BlkIO, "$unknowns">, text: string | undefined): void => {
    present ||= text !== undefined;
    const entries = parseBlkio(text ?? "");
    blkio[field] = entries;
    all.push(...entries);
  };
  const serviced = readText(`${directory}/blkio.io_serviced_recursive`);
  if (serviced !== undefined) {
    for (const [field, file] of cfqFiles) {
      fill(field, file === "io_serviced_recursive" ? serviced : readText(`${directory}/blkio.${file}`));
    }
  }
  // A device without CFQ is counted by the throttling layer alone. Its `_recursive` files (Linux 4.18 and later) count
  // child cgroups too, which is what the fields are named for.
  if (all.length === 0) {
    for (const [field, file] of throttleFiles) {
      const prefix = `${directory}/blkio.${file}`;
      fill(field, readText(`${prefix}_recursive`) ?? readText(prefix));
    }
  }
  if (all.length > 0) {
    const devices = readDevices(root);
    for (const entry of all) {
      entry.device = devices.get(`${entry.major}:${entry.minor}`) ?? "";
    }
  }
  return present ? blkio : undefined;
}

function readRdma(directory: string): Properties<"RdmaStat"> | undefined {
  const current = readText(`${directory}/rdma.current`);
  const limit = readText(`${directory}/rdma.max`);
  return current === undefined || limit === undefined
    ? undefined
    : { current: parseRdma(current), limit: parseRdma(limit) };
}

/** Reads every controller's files; one that is off is left out. */
export function readMetricsV1(cgroup: CgroupV1): MetricsV1 {
  const { controllers, root } = cgroup;
  const metrics: MetricsV1 = { cpu: { usage: {}, throttling: {} } };
  const at = <T>(name: string, read: (directory: string) => T): T | undefined => {
    const directory = controllers.get(name);
    return directory === undefined ? undefined : read(directory);
  };
  metrics.hugetlb = at("hugetlb", (directory) => readHugetlb(directory, root)) ?? [];
  metrics.pids = at("pids", readPids) ?? null;
  metrics.cpu = {
    usage: at("cpuacct", readUsage) ?? {},
    throttling: at("cpu", readThrottling) ?? {},
  };
  metrics.memory = at("memory", readMemory) ?? null;
  metrics.memoryOomControl = at("memory", readOomControl) ?? null;
  metrics.blkio = at("blkio", (directory) => readBlkio(directory, root)) ?? null;
  metrics.rdma = at("rdma", readRdma) ?? null;
  return metrics;
}
