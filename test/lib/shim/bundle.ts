/** Bundles as containerd makes them, small enough that a container costs tens of milliseconds. */

import { chmodSync, copyFileSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "../command.ts";
import { findBusybox } from "../image.ts";

const applets = "sh true false echo cat sleep kill ps ls id env head tail mkdir rm touch yes seq usleep stty dd".split(
  " ",
);

/** What a bundle is made with. */
export interface BundleOptions {
  /** The command of init; sleeps unless told. */
  readonly args?: readonly string[];
  readonly annotations?: Readonly<Record<string, string>>;
  /** False: init lives in the shim's pid namespace (PR-3). */
  readonly ownPids?: boolean;
  /** False: the root is the shared tree itself, and Create gets no mounts. */
  readonly mount?: boolean;
  readonly terminal?: boolean;
  /** Replaces config.json; null makes none. */
  readonly config?: string | null;
  /** Added to `linux.resources`. */
  readonly resources?: Readonly<Record<string, unknown>>;
}

/** A rootfs mount of a Create request. */
export interface RootfsMount {
  readonly type: string;
  readonly source: string;
  readonly options: string[];
}

/** One bundle on disk. */
export interface Bundle {
  readonly id: string;
  readonly path: string;
  /** Absolute in the cgroup hierarchies; names the container and the run. */
  readonly cgroup: string;
  /** For Create. */
  readonly rootfs: readonly RootfsMount[];
}

/** Makes the tree that all containers of a rig share: busybox and its links. */
export function makeRoot(path: string): void {
  for (const name of ["bin", "dev", "etc", "proc", "sys", "tmp", "run"])
    mkdirSync(join(path, name), { recursive: true });
  copyFileSync(findBusybox(), join(path, "bin", "busybox"));
  chmodSync(join(path, "bin", "busybox"), 0o755);
  for (const name of applets) symlinkSync("busybox", join(path, "bin", name));
}

const capabilities = ["CAP_KILL", "CAP_CHOWN", "CAP_SETUID", "CAP_SETGID", "CAP_DAC_OVERRIDE", "CAP_MKNOD"];

/** The `process` of a runtime spec, for init and for Exec. */
export function processSpec(args: readonly string[], terminal = false): Record<string, unknown> {
  return {
    terminal,
    user: { uid: 0, gid: 0 },
    args,
    env: ["PATH=/bin", "TERM=xterm"],
    cwd: "/",
    capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
    noNewPrivileges: true,
  };
}

function spec(root: string, cgroup: string, options: BundleOptions): unknown {
  const kinds = ["mount", "ipc", "uts", ...(options.ownPids === false ? [] : ["pid"])];
  return {
    ociVersion: "1.0.2",
    process: processSpec(options.args ?? ["sleep", "1000"], options.terminal),
    root: { path: root },
    hostname: "test",
    mounts: [
      { destination: "/proc", type: "proc", source: "proc" },
      { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "mode=755", "size=64k"] },
      { destination: "/dev/pts", type: "devpts", source: "devpts", options: ["newinstance", "ptmxmode=0666"] },
    ],
    annotations: options.annotations ?? {},
    linux: {
      cgroupsPath: cgroup,
      namespaces: kinds.map((type) => ({ type })),
      ...(options.resources === undefined ? {} : { resources: options.resources }),
    },
  };
}

/**
 * Makes a bundle with its `log` FIFO.
 * @param root the shared tree
 * @param cgroup absolute path of the container's cgroup
 */
export async function makeBundle(
  path: string,
  id: string,
  root: string,
  cgroup: string,
  options: BundleOptions = {},
): Promise<Bundle> {
  mkdirSync(path, { recursive: true, mode: 0o711 });
  const mounted = options.mount !== false;
  if (options.config !== null) {
    const text = options.config ?? JSON.stringify(spec(mounted ? "rootfs" : root, cgroup, options));
    writeFileSync(join(path, "config.json"), text);
  }
  if (!existsSync(join(path, "log"))) await run(["mkfifo", "-m", "700", join(path, "log")], { check: true });
  return { id, path, cgroup, rootfs: mounted ? [{ type: "bind", source: root, options: ["rbind", "rw"] }] : [] };
}
