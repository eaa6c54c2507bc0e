/** Metrics of every container, asked of its shim when Prometheus asks. */

import type { CgroupSample } from "./sample.ts";
import type { Family, Sample } from "./text.ts";

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
  let failed = 0;
  const waiting = tasks.values();
  const ask = async (): Promise<void> => {
    for (const task of waiting) {
      try {
        const { namespace, id: container_id, runtime } = task;
        for (const { name, help, value, labels } of await samplesOf(task)) {
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
  return { families: found, failed };
}

async function samplesOf(task: MeteredTask): Promise<CgroupSample[]> {
  const stats = await task.stats(AbortSignal.timeout(STATS_MS));
  const type = stats?.type_url.replace(/^.*\//, "");
  if (stats === undefined) return [];
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
