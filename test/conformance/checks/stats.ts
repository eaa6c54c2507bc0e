/** Stats against what the kernel says (contract T-STS-1), on both cgroup versions. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { io as v1 } from "../../../proto/gen/cgroups1.js";
import { io as v2 } from "../../../proto/gen/cgroups2.js";
import { equal, holds } from "../assert.ts";
import type { Section } from "../check.ts";
import type { Context, Shim } from "../rig/context.ts";
import { cgroupWith, isCgroup2 } from "../rig/machine.ts";
import { wide } from "../rig/number.ts";
import { until } from "../rig/wait.ts";

const source = "cmd/containerd-shim-runc-v2/task/service.go (Stats); cgroups stats";

/** What both versions tell. */
interface Figures {
  readonly pids: number;
  readonly memory: number;
  readonly memoryLimit: number;
  /** Nanoseconds. */
  readonly cpu: number;
}

async function figures(shim: Shim): Promise<Figures> {
  const { value } = await shim.task.stats(shim.id);
  if (isCgroup2()) {
    const { pids, memory, cpu } = v2.containerd.cgroups.v2.Metrics.decode(value);
    return {
      pids: wide(pids?.current),
      memory: wide(memory?.usage),
      memoryLimit: wide(memory?.usageLimit),
      cpu: wide(cpu?.usageUsec) * 1000,
    };
  }
  const { pids, memory, cpu } = v1.containerd.cgroups.v1.Metrics.decode(value);
  return {
    pids: wide(pids?.current),
    memory: wide(memory?.usage?.usage),
    memoryLimit: wide(memory?.usage?.limit),
    cpu: wide(cpu?.usage?.total),
  };
}

/** A number of the container's cgroup, from the first of the files that there is. */
function kernel(t: Context, shim: Shim, ...files: string[]): number {
  for (const file of files) {
    const dir = cgroupWith(shim.bundle.cgroup, file);
    if (dir !== undefined) return Number(/\d+/.exec(readFileSync(join(dir, file), "utf8"))?.[0]);
  }
  return t.skip(`the cgroup has no ${files.join(" or ")}`);
}

export const stats: Section = {
  name: "stats",
  checks: [
    {
      id: "T-STS-1.type",
      level: "must",
      title: "The type URL is io.containerd.cgroups.v1.Metrics or v2, as the machine has it, without a host.",
      source: "api/types/runc; client/container.go (typeurl)",
      body: async (t) => {
        const shim = await t.run();
        const expected = `io.containerd.cgroups.v${isCgroup2() ? 2 : 1}.Metrics`;
        equal("the type URL", (await shim.task.stats(shim.id)).type_url, expected);
      },
    },
    {
      id: "T-STS-1.pids",
      level: "must",
      title: "pids.current is the number of processes.",
      source,
      body: async (t) => {
        const shim = await t.run();
        for (const id of ["e1", "e2"]) await shim.exec(id, ["sleep", "100"]);
        // The cgroup counts more where the container has a kernel of its own.
        kernel(t, shim, "pids.current");
        // runc's own processes may still be leaving.
        let told = 0;
        const isRight = async (): Promise<boolean> => {
          told = (await figures(shim)).pids;
          return told === 3;
        };
        await until("pids.current to be 3", isRight, { timeout: 3000, received: () => String(told) });
      },
    },
    {
      id: "T-STS-1.memory",
      level: "must",
      title: "The memory in use is what the kernel says, within a megabyte.",
      source,
      body: async (t) => {
        // More than the tolerance by far, so that nothing and another unit are too little. A last command would
        // take the shell's place, and its memory with it.
        const stdout = t.reader("out");
        const args = t.script("x=$(yes | head -c 8388608); echo ready; sleep 1000; :");
        const shim = await t.run({ args }, t.outputs(stdout));
        await stdout.until("ready\n");
        const told = (await figures(shim)).memory;
        const real = kernel(t, shim, "memory.usage_in_bytes", "memory.current");
        holds("8 MiB at least in use", real >= 8 << 20, real);
        holds(`about ${real} bytes`, Math.abs(told - real) < 1 << 20, told);
      },
    },
    {
      id: "T-STS-1.limit",
      level: "must",
      title: "The limit of memory is in bytes.",
      source,
      body: async (t) => {
        const shim = await t.run({ resources: { memory: { limit: 64 << 20 } } });
        kernel(t, shim, "memory.usage_in_bytes", "memory.current");
        equal("the limit", (await figures(shim)).memoryLimit, 64 << 20);
      },
    },
    {
      id: "T-STS-1.cpu",
      level: "must",
      title: "The processor time grows with its use, and is in the unit of the message.",
      source,
      body: async (t) => {
        const shim = await t.run({ args: t.script("while :; do :; done") });
        await Bun.sleep(500);
        const before = isCgroup2() ? 0 : kernel(t, shim, "cpuacct.usage");
        const { cpu } = await figures(shim);
        holds("at least 50 ms", cpu > 50e6, `${cpu} ns`);
        holds("at most 10 s", cpu < 10e9, `${cpu} ns`);
        if (isCgroup2()) return;
        const after = kernel(t, shim, "cpuacct.usage");
        holds(`between ${before} and ${after} ns`, cpu >= before && cpu <= after, cpu);
      },
    },
  ],
};
