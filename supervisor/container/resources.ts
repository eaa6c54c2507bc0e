/** What a container may use of the machine, as the OCI spec says it. */

import { invalidArgument } from "../../proto/errdefs.ts";
import { type ResolvedDevice, ruleOf } from "./devices.ts";
import type { HostFacts } from "./facts.ts";
import { deviceRules, type OciResources } from "./oci.ts";
import type { RunOptions } from "./options.ts";

/** Microseconds over which CPU time is counted. */
const PERIOD = 100_000;
/** runc itself needs some; docker refuses less, too. */
const MIN_MEMORY = 6 << 20;
const MIN_QUOTA = 1000;

/** Options about resources. */
export type ResourceOptions = Pick<
  RunOptions,
  | "memory"
  | "memorySwap"
  | "memoryReservation"
  | "oomKillDisable"
  | "cpus"
  | "cpuShares"
  | "cpuQuota"
  | "cpuPeriod"
  | "cpusetCpus"
  | "cpusetMems"
  | "pidsLimit"
>;

/** Limits without those of devices: what can be changed while a container runs. */
export type Limits = Omit<OciResources, "devices">;

/**
 * The limits that options ask for.
 * @param warn told of what this machine cannot do
 * @throws ContainerdError InvalidArgument for options that make no sense
 */
export function limitsOf(
  options: ResourceOptions,
  facts: Pick<HostFacts, "hasSwapLimit">,
  warn: (text: string) => void = () => {},
): Limits {
  const memory = memoryOf(options, facts, warn);
  const cpu = cpuOf(options);
  const { pidsLimit } = options;
  return {
    ...(memory === undefined ? {} : { memory }),
    ...(cpu === undefined ? {} : { cpu }),
    ...(pidsLimit === undefined || pidsLimit === 0 ? {} : { pids: { limit: pidsLimit < 0 ? -1 : pidsLimit } }),
  };
}

/** All resources of a new container. @throws ContainerdError InvalidArgument */
export function resourcesOf(
  options: ResourceOptions & Pick<RunOptions, "privileged">,
  devices: readonly ResolvedDevice[],
  facts: Pick<HostFacts, "hasSwapLimit">,
  warn?: (text: string) => void,
): OciResources {
  const rules = options.privileged ? [{ allow: true, access: "rwm" }] : [...deviceRules, ...devices.map(ruleOf)];
  return { devices: rules, ...limitsOf(options, facts, warn) };
}

function memoryOf(
  { memory, memorySwap, memoryReservation, oomKillDisable }: ResourceOptions,
  { hasSwapLimit }: Pick<HostFacts, "hasSwapLimit">,
  warn: (text: string) => void,
): Limits["memory"] {
  if (memory !== undefined && memory < MIN_MEMORY) {
    throw invalidArgument(`a memory limit of ${memory} bytes is too small: a container needs 6m at least`);
  }
  if (memorySwap !== undefined && memorySwap > 0) {
    if (memory === undefined)
      throw invalidArgument("--memory-swap counts memory and swap together: give --memory, too");
    if (memorySwap < memory)
      throw invalidArgument("--memory-swap counts memory and swap together: it is below --memory");
  }
  if (memoryReservation !== undefined && memory !== undefined && memoryReservation > memory) {
    throw invalidArgument("--memory-reservation is above --memory");
  }
  // Docker's default: as much swap as memory.
  const wanted = memorySwap ?? (memory === undefined ? undefined : memory * 2);
  if (memorySwap !== undefined && memorySwap !== -1 && !hasSwapLimit) {
    warn("this kernel does not limit swap (boot it with swapaccount=1): --memory-swap has no effect");
  }
  const swap = hasSwapLimit ? wanted : undefined;
  if ([memory, swap, memoryReservation].every((value) => value === undefined) && !oomKillDisable) return undefined;
  return {
    ...(memory === undefined ? {} : { limit: memory }),
    ...(memoryReservation === undefined ? {} : { reservation: memoryReservation }),
    ...(swap === undefined ? {} : { swap }),
    ...(oomKillDisable ? { disableOOMKiller: true } : {}),
  };
}

function cpuOf({ cpus, cpuShares, cpuQuota, cpuPeriod, cpusetCpus, cpusetMems }: ResourceOptions): Limits["cpu"] {
  if (cpus !== undefined && (cpuQuota !== undefined || cpuPeriod !== undefined)) {
    throw invalidArgument("--cpus stands for a quota and a period: give either it or --cpu-quota and --cpu-period");
  }
  for (const list of [cpusetCpus, cpusetMems]) {
    if (list !== undefined && !/^\d+(-\d+)?(,\d+(-\d+)?)*$/.test(list)) {
      throw invalidArgument(`${JSON.stringify(list)} is no list of CPUs or memory nodes: write it as 0-2,4`);
    }
  }
  const quota = cpus === undefined ? cpuQuota : Math.round(cpus * PERIOD);
  if (quota !== undefined && quota !== -1 && quota < MIN_QUOTA) {
    throw invalidArgument("too little CPU time: --cpus is 0.01 at least, --cpu-quota 1000 microseconds");
  }
  const cpu = {
    ...(cpuShares === undefined ? {} : { shares: cpuShares }),
    ...(quota === undefined ? {} : { quota }),
    ...(quota === undefined && cpuPeriod === undefined ? {} : { period: cpuPeriod ?? PERIOD }),
    ...(cpusetCpus === undefined ? {} : { cpus: cpusetCpus }),
    ...(cpusetMems === undefined ? {} : { mems: cpusetMems }),
  };
  return Object.keys(cpu).length === 0 ? undefined : cpu;
}
