/** Bundles as containerd makes them, for shims that the bench starts itself. */

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Capabilities that ctr gives to a container. */
const capabilities = [
  "CHOWN",
  "DAC_OVERRIDE",
  "FSETID",
  "FOWNER",
  "MKNOD",
  "NET_RAW",
  "SETGID",
  "SETUID",
  "SETFCAP",
  "SETPCAP",
  "NET_BIND_SERVICE",
  "SYS_CHROOT",
  "KILL",
  "AUDIT_WRITE",
].map((name) => `CAP_${name}`);

/** The `process` of a spec: root, with the capabilities that ctr gives. */
export function processSpec(args: readonly string[], terminal = false): Record<string, unknown> {
  return {
    terminal,
    user: { uid: 0, gid: 0 },
    args,
    env: ["PATH=/bin", "TERM=xterm"],
    cwd: "/",
    capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
    rlimits: [{ type: "RLIMIT_NOFILE", hard: 1024, soft: 1024 }],
    noNewPrivileges: true,
  };
}

function spec(args: readonly string[], cgroupsPath: string): unknown {
  const mount = (destination: string, type: string, options: string[], source = type): unknown => {
    return { destination, type, source, options };
  };
  const safe = ["nosuid", "noexec", "nodev"];
  return {
    ociVersion: "1.0.2-dev",
    process: processSpec(args),
    root: { path: "rootfs" },
    hostname: "bench",
    mounts: [
      mount("/proc", "proc", safe),
      mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
      mount("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
      mount("/dev/shm", "tmpfs", [...safe, "mode=1777", "size=65536k"], "shm"),
      mount("/dev/mqueue", "mqueue", safe),
      mount("/sys", "sysfs", [...safe, "ro"]),
      mount("/run", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ],
    linux: {
      cgroupsPath,
      resources: { devices: [{ allow: false, access: "rwm" }] },
      namespaces: ["pid", "ipc", "uts", "mount", "network"].map((type) => ({ type })),
      maskedPaths: ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/sys/firmware"],
      readonlyPaths: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    },
  };
}

/** A mount of the root file system, as a snapshotter would answer it. */
export interface RootfsMount {
  readonly type: string;
  readonly source: string;
  readonly options: string[];
}

/**
 * Makes a bundle.
 *
 * @param lower the root file system that the container sees, writable through an overlay
 * @returns the mounts to give to Create
 */
export function makeBundle(dir: string, lower: string, args: readonly string[], cgroupsPath: string): RootfsMount[] {
  const upper = join(dir, "upper");
  const work = join(dir, "overlay-work");
  for (const path of [dir, join(dir, "rootfs"), upper, work]) {
    mkdirSync(path, { mode: 0o711 });
  }
  writeFileSync(join(dir, "config.json"), JSON.stringify(spec(args, cgroupsPath)));
  return [
    { type: "overlay", source: "overlay", options: [`lowerdir=${lower}`, `upperdir=${upper}`, `workdir=${work}`] },
  ];
}
