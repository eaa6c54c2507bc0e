/** cgroup v1 and v2: finding a container's cgroups, its statistics, its OOM kills. */

export { enableControllers, joinCgroup, killCgroup, removeCgroup } from "./control.ts";
export { type Cgroup, CgroupGoneError, type CgroupV1, type CgroupV2, findCgroups } from "./find.ts";
export { type OomWatch, watchOom } from "./oom.ts";
export { exists, readStats } from "./stats.ts";
