/** Metrics of a container on cgroup v2, under containerd's names. */

import type { io } from "../../proto/gen/cgroups2.js";
import { type CgroupSample, sample } from "./sample.ts";

type Metrics = io.containerd.cgroups.v2.Metrics.$Properties;
type Memory = io.containerd.cgroups.v2.MemoryStat.$Properties;

/** Counts of memory: containerd's name is the field's with underscores. */
const memoryCounts: readonly (keyof Memory)[] = [
  ...(["usage", "usageLimit", "swapUsage", "swapLimit", "fileMapped", "fileDirty", "fileWriteback"] as const),
  ...(["pgactivate", "pgdeactivate", "pgfault", "pgmajfault", "pglazyfree", "pgrefill", "pglazyfreed"] as const),
  ...(["pgscan", "pgsteal", "inactiveAnon", "activeAnon", "inactiveFile", "activeFile", "unevictable"] as const),
  ...(["anon", "file", "kernelStack", "slab", "sock", "shmem", "anonThp", "slabReclaimable"] as const),
  ...(["slabUnreclaimable", "workingsetRefault", "workingsetActivate", "workingsetNodereclaim"] as const),
  ...(["thpFaultAlloc", "thpCollapseAlloc"] as const),
];

/** Every sample of one container. */
export function cgroup2Samples({ pids, cpu, memory, memoryEvents, io }: Metrics): CgroupSample[] {
  const samples: CgroupSample[] = [];
  const put = (name: string, help: string, value: unknown, labels?: Record<string, string>): void => {
    samples.push(sample(name, help, value, labels));
  };
  if (pids) {
    put("pids_current", "Processes and threads.", pids.current);
    put("pids_limit", "Processes and threads at most; 0: without a limit.", pids.limit);
  }
  if (cpu) {
    put("cpu_usage_usec_microseconds", "CPU time.", cpu.usageUsec);
    put("cpu_user_usec_microseconds", "CPU time in programs.", cpu.userUsec);
    put("cpu_system_usec_microseconds", "CPU time in the kernel.", cpu.systemUsec);
    put("cpu_nr_periods_total", "Periods of CPU bandwidth.", cpu.nrPeriods);
    put("cpu_nr_throttled_total", "Periods that were throttled.", cpu.nrThrottled);
    put("cpu_throttled_usec_microseconds", "Time that was throttled.", cpu.throttledUsec);
  }
  if (memory) {
    for (const field of memoryCounts) {
      const name = field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
      put(`memory_${name}_bytes`, `${name} of the memory controller.`, memory[field]);
    }
  }
  if (memoryEvents) put("memory_oom_total", "How often memory ran out.", memoryEvents.oom);
  for (const { major, minor, rbytes, wbytes, rios, wios } of io?.usage ?? []) {
    const labels = { major: String(Number(major)), minor: String(Number(minor)) };
    put("io_rbytes_bytes", "Bytes read from the device.", rbytes, labels);
    put("io_wbytes_bytes", "Bytes written to the device.", wbytes, labels);
    put("io_rios_total", "Reads of the device.", rios, labels);
    put("io_wios_total", "Writes of the device.", wios, labels);
  }
  return samples;
}
