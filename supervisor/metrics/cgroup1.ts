/** Metrics of a container on cgroup v1, under containerd's names. */

import type { io } from "../../proto/gen/cgroups1.js";
import { type CgroupSample, sample } from "./sample.ts";

type Metrics = io.containerd.cgroups.v1.Metrics.$Properties;
type Memory = io.containerd.cgroups.v1.MemoryStat.$Properties;
type BlkIO = io.containerd.cgroups.v1.BlkIOStat.$Properties;

/** Plain counts of memory.stat: containerd's name of each with the field. */
const memoryCounts: readonly (readonly [name: string, field: keyof Memory])[] = [
  ["cache", "cache"],
  ["rss", "rss"],
  ["rss_huge", "rssHuge"],
  ["mapped_file", "mappedFile"],
  ["dirty", "dirty"],
  ["writeback", "writeback"],
  ["pgpgin", "pgPgIn"],
  ["pgpgout", "pgPgOut"],
  ["pgfault", "pgFault"],
  ["pgmajfault", "pgMajFault"],
  ["inactive_anon", "inactiveAnon"],
  ["active_anon", "activeAnon"],
  ["inactive_file", "inactiveFile"],
  ["active_file", "activeFile"],
  ["unevictable", "unevictable"],
  ["hierarchical_memory_limit", "hierarchicalMemoryLimit"],
  ["hierarchical_memsw_limit", "hierarchicalSwapLimit"],
  ["total_cache", "totalCache"],
  ["total_rss", "totalRss"],
  ["total_rss_huge", "totalRssHuge"],
  ["total_mapped_file", "totalMappedFile"],
  ["total_dirty", "totalDirty"],
  ["total_writeback", "totalWriteback"],
  ["total_pgpgin", "totalPgPgIn"],
  ["total_pgpgout", "totalPgPgOut"],
  ["total_pgfault", "totalPgFault"],
  ["total_pgmajfault", "totalPgMajFault"],
  ["total_inactive_anon", "totalInactiveAnon"],
  ["total_active_anon", "totalActiveAnon"],
  ["total_inactive_file", "totalInactiveFile"],
  ["total_active_file", "totalActiveFile"],
  ["total_unevictable", "totalUnevictable"],
];

/** Limits with their use: containerd's name of each with the field. */
const memoryEntries = [
  ["usage", "usage"],
  ["swap", "swap"],
  ["kernel", "kernel"],
  ["kerneltcp", "kernelTcp"],
] as const;

const blkioLists: readonly (readonly [name: string, field: keyof BlkIO])[] = [
  ["io_merged_recursive_total", "ioMergedRecursive"],
  ["io_queued_recursive_total", "ioQueuedRecursive"],
  ["io_service_bytes_recursive_bytes", "ioServiceBytesRecursive"],
  ["io_service_time_recursive_total", "ioServiceTimeRecursive"],
  ["io_serviced_recursive_total", "ioServicedRecursive"],
  ["io_time_recursive_total", "ioTimeRecursive"],
  ["sectors_recursive_total", "sectorsRecursive"],
];

/** Every sample of one container. */
export function cgroup1Samples(metrics: Metrics): CgroupSample[] {
  const { pids, cpu, memory, blkio, hugetlb, memoryOomControl: oom } = metrics;
  const samples: CgroupSample[] = [];
  const put = (name: string, help: string, value: unknown, labels?: Record<string, string>): void => {
    samples.push(sample(name, help, value, labels));
  };
  if (pids) {
    put("pids_current", "Processes and threads.", pids.current);
    put("pids_limit", "Processes and threads at most; 0: without a limit.", pids.limit);
  }
  if (cpu?.usage) {
    put("cpu_total_nanoseconds", "CPU time.", cpu.usage.total);
    put("cpu_kernel_nanoseconds", "CPU time in the kernel.", cpu.usage.kernel);
    put("cpu_user_nanoseconds", "CPU time in programs.", cpu.usage.user);
    for (const [index, value] of (cpu.usage.perCpu ?? []).entries()) {
      put("per_cpu_nanoseconds", "CPU time by CPU.", value, { cpu: String(index) });
    }
  }
  if (cpu?.throttling) {
    put("cpu_throttle_periods_total", "Periods of CPU bandwidth.", cpu.throttling.periods);
    put("cpu_throttled_periods_total", "Periods that were throttled.", cpu.throttling.throttledPeriods);
    put("cpu_throttled_time_nanoseconds", "Time that was throttled.", cpu.throttling.throttledTime);
  }
  if (memory) {
    for (const [name, field] of memoryCounts) put(`memory_${name}_bytes`, `${name} of memory.stat.`, memory[field]);
    for (const [name, field] of memoryEntries) {
      const entry = memory[field];
      if (!entry) continue;
      put(`memory_${name}_limit_bytes`, `Limit of ${name}.`, entry.limit);
      put(`memory_${name}_usage_bytes`, `Use of ${name}.`, entry.usage);
      put(`memory_${name}_max_bytes`, `Largest use of ${name}.`, entry.max);
      put(`memory_${name}_failcnt_total`, `How often the limit of ${name} was hit.`, entry.failcnt);
    }
  }
  if (oom) put("memory_oom_total", "Processes killed for want of memory.", oom.oomKill);
  for (const { pagesize, usage, max, failcnt } of hugetlb ?? []) {
    const labels = { page: pagesize ?? "" };
    put("hugetlb_usage_bytes", "Use of huge pages.", usage, labels);
    put("hugetlb_max_bytes", "Largest use of huge pages.", max, labels);
    put("hugetlb_failcnt_total", "How often the limit of huge pages was hit.", failcnt, labels);
  }
  if (blkio) {
    for (const [name, field] of blkioLists) {
      for (const { op, device, major, minor, value } of (blkio[field] ??
        []) as io.containerd.cgroups.v1.BlkIOEntry.$Properties[]) {
        const labels = {
          op: op ?? "",
          device: device ?? "",
          major: String(Number(major)),
          minor: String(Number(minor)),
        };
        put(`blkio_${name}`, `${name} of the blkio controller.`, value, labels);
      }
    }
  }
  return samples;
}
