/** What of this machine a spec depends on. */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Facts of a machine. */
export interface HostFacts {
  /** True where all controllers are in the one tree of cgroup v2. */
  readonly isCgroup2: boolean;
  /** True where swap can be limited. */
  readonly hasSwapLimit: boolean;
  /** Capabilities that can be given, as a set of bits. */
  readonly capabilities: bigint;
  /** As Node names it. */
  readonly machine: string;
}

const CGROUPS = "/sys/fs/cgroup";

/** Looks at this machine. */
export function hostFacts(): HostFacts {
  const isCgroup2 = existsSync(join(CGROUPS, "cgroup.controllers"));
  return { isCgroup2, hasSwapLimit: hasSwapLimit(isCgroup2), capabilities: bounding(), machine: process.arch };
}

function hasSwapLimit(isCgroup2: boolean): boolean {
  if (!isCgroup2) return existsSync(join(CGROUPS, "memory/memory.memsw.limit_in_bytes"));
  // The root has no limits: any group of it shows what there is.
  const groups = readdirSync(CGROUPS, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return groups.some(({ name }) => existsSync(join(CGROUPS, name, "memory.swap.max")));
}

function bounding(): bigint {
  const [, bits] = /^CapBnd:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
  return bits === undefined ? (1n << 64n) - 1n : BigInt(`0x${bits}`);
}
