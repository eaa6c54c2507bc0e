/** What a container uses, the same for both versions of cgroups. */

/** CPU and memory of a cgroup. */
export interface CgroupUsage {
  /** CPU time since its beginning, in microseconds. */
  readonly cpuMicros: number;
  /** Bytes, without what the kernel can take back: as docker counts. */
  readonly memory: number;
  /** Bytes; 0 without a limit. */
  readonly memoryLimit: number;
}

/** A limit above this is none: cgroup v1 says so with the largest number of pages. */
const NO_LIMIT = 2 ** 60;

/** @param stats a shim's answer to Stats @returns undefined for an answer of another kind */
export async function usageOf(stats: {
  readonly type_url: string;
  readonly value: Uint8Array;
}): Promise<CgroupUsage | undefined> {
  const type = stats.type_url.replace(/^.*\//, "");
  if (type === "io.containerd.cgroups.v1.Metrics") {
    const { io } = await import("../../proto/gen/cgroups1.js");
    const { cpu, memory } = io.containerd.cgroups.v1.Metrics.decode(stats.value);
    const cache = Number(memory?.totalInactiveFile ?? 0);
    return usage(Number(cpu?.usage?.total ?? 0) / 1000, memory?.usage?.usage, cache, memory?.usage?.limit);
  }
  if (type === "io.containerd.cgroups.v2.Metrics") {
    const { io } = await import("../../proto/gen/cgroups2.js");
    const { cpu, memory } = io.containerd.cgroups.v2.Metrics.decode(stats.value);
    const cache = Number(memory?.inactiveFile ?? 0);
    return usage(Number(cpu?.usageUsec ?? 0), memory?.usage, cache, memory?.usageLimit);
  }
  return undefined;
}

function usage(cpuMicros: number, used: unknown, cache: number, limit: unknown): CgroupUsage {
  const [most, all] = [Number(limit ?? 0), Number(used ?? 0)];
  return { cpuMicros, memory: cache < all ? all - cache : all, memoryLimit: most >= NO_LIMIT ? 0 : most };
}
