/** What the shims themselves take: processes that are not in their containers' cgroups. */

import type { MeteredTask } from "./containers.ts";
import type { Family, Sample } from "./text.ts";

/**
 * How long pidusage keeps a process' file open, in milliseconds. It must keep it for a while: with 0 it asks itself for
 * what it has just not kept, for ever; and its clear() forgets the files without closing them.
 */
const KEPT_MS = 1000;

/** CPU time and memory of every shim that is there. */
export async function shimFamilies(tasks: readonly MeteredTask[]): Promise<Family[]> {
  const cpu: Sample[] = [];
  const memory: Sample[] = [];
  if (tasks.length > 0) {
    const { default: pidusage } = await import("pidusage");
    await Promise.all(
      tasks.map(async (task) => {
        const pid = await task.shimPid();
        // A shim may end at any moment.
        const used = pid === undefined ? undefined : await pidusage(pid, { maxage: KEPT_MS }).catch(() => undefined);
        if (used === undefined) return;
        const labels = { namespace: task.namespace, container_id: task.id };
        cpu.push({ labels, value: used.ctime / 1000 });
        memory.push({ labels, value: used.memory });
      }),
    );
  }
  return [
    { name: "berth_shim_cpu_seconds_total", type: "counter", help: "CPU time of the shim.", samples: cpu },
    { name: "berth_shim_resident_memory_bytes", type: "gauge", help: "Resident memory of the shim.", samples: memory },
  ];
}
