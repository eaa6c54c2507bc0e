import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { lookAtCgroups } from "../../../../../supervisor/cli/host/doctor/cgroups.ts";
import type { Diagnosis, Place } from "../../../../../supervisor/cli/host/doctor/check.ts";
import { lookAtClock } from "../../../../../supervisor/cli/host/doctor/clock.ts";
import { lookAtDisk } from "../../../../../supervisor/cli/host/doctor/disk.ts";
import { lookAtKernel } from "../../../../../supervisor/cli/host/doctor/kernel.ts";
import { lookAtNetwork } from "../../../../../supervisor/cli/host/doctor/network.ts";

/** A machine made of these files. */
async function withMachine(files: Readonly<Record<string, string>>, body: (place: Place) => Promise<void> | void) {
  const prefix = mkdtempSync(join(tmpdir(), "berth-doctor-"));
  try {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(prefix, path)), { recursive: true });
      writeFileSync(join(prefix, path), text);
    }
    await body({ address: join(prefix, "sock"), root: prefix, state: prefix, prefix });
  } finally {
    rmSync(prefix, { recursive: true, force: true });
  }
}

function named(found: readonly Diagnosis[], name: string): Diagnosis | undefined {
  return found.find((one) => one.name === name);
}

test("what is not well always says what to do", () =>
  withMachine({}, async (place) => {
    const found = [
      ...lookAtKernel(place, "4.19.0"),
      ...lookAtCgroups(place),
      ...lookAtNetwork(place),
      ...lookAtDisk(place),
      ...(await lookAtClock(place, new Date("1970-01-01"))),
    ];
    for (const { level, advice } of found) expect(advice === undefined).toBe(level === "ok");
    for (const name of ["version", "CNI plugins", "time"]) expect(named(found, name)?.level).toBe("fail");
  }));

test("a machine with everything is well", () =>
  withMachine(
    {
      "/sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n",
      "/proc/filesystems": "nodev\toverlay\n\text4\n",
      "/proc/sys/fs/inotify/max_user_instances": "1024\n",
      "/proc/self/status": "Seccomp:\t0\n",
      "/proc/sys/net/ipv4/ip_forward": "1\n",
      ...Object.fromEntries(
        ["bridge", "host-local", "loopback", "portmap", "firewall"].map((name) => [`/usr/lib/cni/${name}`, ""]),
      ),
      ...Object.fromEntries(
        ["mnt", "pid", "net", "ipc", "uts", "user", "cgroup"].map((name) => [`/proc/self/ns/${name}`, ""]),
      ),
    },
    (place) => {
      const found = [...lookAtKernel(place, "6.1.0"), ...lookAtCgroups(place), ...lookAtNetwork(place)];
      expect(found.filter(({ level, name }) => level !== "ok" && name !== "packet filter")).toEqual([]);
    },
  ));

test("a Raspberry Pi without the memory controller is told of its command line", () =>
  withMachine(
    {
      "/sys/fs/cgroup/cgroup.controllers": "cpu io pids\n",
      "/proc/cmdline": "console=tty1 cgroup_disable=memory\n",
    },
    (place) => {
      const memory = named(lookAtCgroups(place), "controller memory");
      expect([memory?.level, memory?.advice]).toEqual([
        "warn",
        "take cgroup_disable=memory off the kernel's command line",
      ]);
    },
  ));
