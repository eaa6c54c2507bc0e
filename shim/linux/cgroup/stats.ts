/** The Stats of a container, as the Task service answers them (T-STS-1). */

import { type Any, packAny } from "../../../proto/typeurl.ts";
import { type Cgroup, CgroupGoneError } from "./find.ts";
import { isDirectory } from "./kernel.ts";

/** True while any directory of the cgroup is there. */
export function exists(cgroup: Cgroup): boolean {
  if (cgroup.version === 2) {
    return isDirectory(cgroup.directory);
  }
  for (const directory of cgroup.controllers.values()) {
    if (isDirectory(directory)) {
      return true;
    }
  }
  return false;
}

/**
 * Reads every statistic that the kernel offers for the cgroup, in the types and units of containerd's metrics messages:
 * `io.containerd.cgroups.v1.Metrics` or `io.containerd.cgroups.v2.Metrics`. A controller that is off is left out. The
 * message code is loaded at the first call: most shims are never asked.
 * @throws CgroupGoneError when the whole cgroup is gone.
 */
export async function readStats(cgroup: Cgroup): Promise<Any> {
  let any: Any;
  if (cgroup.version === 1) {
    const [{ io }, { readMetricsV1 }] = await Promise.all([
      import("../../../proto/gen/cgroups1.js"),
      import("./stats1.ts"),
    ]);
    const { Metrics } = io.containerd.cgroups.v1;
    any = packAny("io.containerd.cgroups.v1.Metrics", Metrics.encode(readMetricsV1(cgroup)).finish());
  } else {
    const [{ io }, { readMetricsV2 }] = await Promise.all([
      import("../../../proto/gen/cgroups2.js"),
      import("./stats2.ts"),
    ]);
    const { Metrics } = io.containerd.cgroups.v2;
    any = packAny("io.containerd.cgroups.v2.Metrics", Metrics.encode(readMetricsV2(cgroup)).finish());
  }
  // Looked at last: figures from a cgroup that was removed while they were read are not figures.
  if (!exists(cgroup)) {
    throw new CgroupGoneError();
  }
  return any;
}
