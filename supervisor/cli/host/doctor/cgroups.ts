/** Control groups: which version, and which controllers. */

import { area, type Diagnosis, type Place } from "./check.ts";
import { isThere, textOf } from "./read.ts";

const { ok, warn, fail } = area("cgroups");

/** Controllers with what does not work without them. */
const wanted: readonly (readonly [name: string, use: string])[] = [
  ["memory", "-m and memory figures"],
  ["cpu", "--cpus"],
  ["pids", "--pids-limit and the count of processes"],
];

export function lookAtCgroups(place: Place): Diagnosis[] {
  const controllers = textOf(place, "/sys/fs/cgroup/cgroup.controllers");
  if (controllers !== undefined) {
    return [ok("version", "2"), ...missingOf(controllers.trim().split(/\s+/), place, 2)];
  }
  if (!isThere(place, "/sys/fs/cgroup/memory") && !isThere(place, "/sys/fs/cgroup/pids")) {
    return [
      fail(
        "version",
        "/sys/fs/cgroup has no control groups",
        "mount -t cgroup2 cgroup2 /sys/fs/cgroup, or let the init do it",
      ),
    ];
  }
  const enabled = (textOf(place, "/proc/cgroups") ?? "")
    .split("\n")
    .map((line) => line.split("\t"))
    .filter(([name = "", hierarchy, , on]) => name !== "" && !name.startsWith("#") && hierarchy !== "0" && on === "1")
    .map(([name = ""]) => name);
  return [
    ok("version", "1 (works; version 2 counts memory and OOM kills better: systemd.unified_cgroup_hierarchy=1)"),
    ...missingOf(enabled, place, 1),
  ];
}

function missingOf(controllers: readonly string[], place: Place, version: 1 | 2): Diagnosis[] {
  return wanted.map(([name, use]) => {
    if (controllers.includes(name)) return ok(`controller ${name}`, "there");
    const line = textOf(place, "/proc/cmdline") ?? "";
    const isOff = new RegExp(`cgroup_disable=\\S*${name}`).test(line);
    const advice = isOff
      ? `take cgroup_disable=${name} off the kernel's command line`
      : name === "memory"
        ? "add cgroup_enable=memory to the kernel's command line (Raspberry Pi: in cmdline.txt), and reboot"
        : version === 2
          ? `enable it: echo +${name} > /sys/fs/cgroup/cgroup.subtree_control`
          : `use a kernel with it, and mount it at /sys/fs/cgroup/${name}`;
    return warn(`controller ${name}`, `missing: ${use} will not work`, advice);
  });
}
