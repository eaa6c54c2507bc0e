/** Metrics of every container, asked of its shim when Prometheus asks. */

import type { CgroupSample } from "./sample.ts";
import type { Family, Sample } from "./text.ts";
import { usageOf } from "./usage.ts";

/** A task that has a shim. */
export interface MeteredTask {
  readonly namespace: string;
  readonly id: string;
  /** The runtime's name. */
  readonly runtime: string;
  /** The shim's process; undefined when it does not say. */
  shimPid(): Promise<number | undefined>;
  /** What the shim answers to Stats. @throws Error when it does not */
  stats(signal: AbortSignal): Promise<{ readonly type_url: string; readonly value: Uint8Array } | undefined>;
}

/** Shims that are asked at the same time. */
const MAX_ASKED = 16;
/** How long one shim may take; Prometheus waits ten seconds for everything. */
const STATS_MS = 2000;

/** Numbers of all containers, by family; a container that does not answer is left out and counted. */
export async function containerFamilies(
  tasks: readonly MeteredTask[],
): Promise<{ families: Family[]; failed: number }> {
  const families = new Map<string, { help: string; samples: Sample[] }>();
  const [cpu, memory, limits]: [Sample[], Sample[], Sample[]] = [[], [], []];
  let failed = 0;
  const waiting = tasks.values();
  const ask = async (): Promise<void> => {
    for (const task of waiting) {
      try {
        const { namespace, id: container_id, runtime } = task;
        const stats = await task.stats(AbortSignal.timeout(STATS_MS));
        if (stats === undefined) continue;
        const usage = await usageOf(stats);
        const of = { container_id, namespace };
        if (usage !== undefined) {
          cpu.push({ labels: of, value: usage.cpuMicros / 1e6 });
          memory.push({ labels: of, value: usage.memory });
          limits.push({ labels: of, value: usage.memoryLimit });
        }
        for (const { name, help, value, labels } of await samplesOf(stats)) {
          const family = families.get(name) ?? { help, samples: [] };
          families.set(name, family);
          family.samples.push({ labels: { ...labels, container_id, namespace, runtime }, value });
        }
      } catch {
        failed++;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(MAX_ASKED, tasks.length) }, ask));
  const found = [...families].map(([name, { help, samples }]): Family => ({ name, type: "gauge", help, samples }));
  // Under names that are the same for both versions of cgroups.
  const ours: Family[] = [
    { name: "berth_container_cpu_seconds_total", type: "counter", help: "CPU time of the container.", samples: cpu },
    {
      name: "berth_container_memory_bytes",
      type: "gauge",
      help: "Memory of the container, without what the kernel can take back.",
      samples: memory,
    },
    {
      name: "berth_container_memory_limit_bytes",
      type: "gauge",
      help: "Most memory that the container may have; 0: no limit.",
      samples: limits,
    },
  ];
  return { families: [...found, ...ours], failed };
}

async function samplesOf(stats: { readonly type_url: string; readonly value: Uint8Array }): Promise<CgroupSample[]> {
  const type = stats.type_url.replace(/^.*\//, "");
  if (type === "io.containerd.cgroups.v1.Metrics") {
    const [{ io }, { cgroup1Samples }] = await Promise.all([
      import("../../proto/gen/cgroups1.js"),
      import("./cgroup1.ts"),
    ]);
    return cgroup1Samples(io.containerd.cgroups.v1.Metrics.decode(stats.value));
  }
  if (type === "io.containerd.cgroups.v2.Metrics") {
    const [{ io }, { cgroup2Samples }] = await Promise.all([
      import("../../proto/gen/cgroups2.js"),
      import("./cgroup2.ts"),
    ]);
    return cgroup2Samples(io.containerd.cgroups.v2.Metrics.decode(stats.value));
  }
  return [];
}
