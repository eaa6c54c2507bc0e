/** Bundles as containerd makes them (contract 1.5). */

import { constants, mkdirSync, openSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** What a bundle is made with. */
export interface BundleOptions {
  /** The command of init; sleeps unless told. */
  readonly args?: readonly string[];
  readonly annotations?: Readonly<Record<string, string>>;
  /** False: init lives in the shim's pid namespace (PR-3). */
  readonly ownPids?: boolean;
  readonly terminal?: boolean;
  /** Replaces config.json; null makes none. */
  readonly config?: string | null;
  /** `linux.resources`. */
  readonly resources?: Readonly<Record<string, unknown>>;
  /** Added to the environment of init. */
  readonly env?: readonly string[];
  /** User and group of init; root unless told. */
  readonly user?: number;
}

/** One bundle on disk. */
export interface Bundle {
  readonly id: string;
  readonly path: string;
  /** From the root of each hierarchy. */
  readonly cgroup: string;
  /** containerd's end of the `log` FIFO, open for reading and writing. */
  readonly log: number;
}

/** What a bundle belongs to. */
export interface BundlePlace {
  /** Of all bundles of one check. */
  readonly dir: string;
  /** In the environment of every process, so that it can be found. */
  readonly token: string;
}

const capabilities = ["CAP_KILL", "CAP_CHOWN", "CAP_SETUID", "CAP_SETGID", "CAP_DAC_OVERRIDE", "CAP_MKNOD"];

/** The name of the variable that carries the token. */
export const tokenVariable = "BERTH_CONFORMANCE";

/** The `process` of a runtime spec, for init and for Exec. */
export function processSpec(
  args: readonly string[],
  token: string,
  { terminal = false, env = [] as readonly string[], user = 0 } = {},
): Record<string, unknown> {
  return {
    terminal,
    user: { uid: user, gid: user },
    args,
    env: ["PATH=/bin:/usr/bin", "TERM=xterm", `${tokenVariable}=${token}`, ...env],
    cwd: "/",
    capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
    noNewPrivileges: true,
  };
}

function spec(cgroup: string, token: string, options: BundleOptions): unknown {
  const { args = ["sleep", "1000"], terminal = false, env = [], annotations = {}, resources, user = 0 } = options;
  const kinds = ["mount", "ipc", "uts", ...(options.ownPids === false ? [] : ["pid"])];
  return {
    ociVersion: "1.0.2",
    process: processSpec(args, token, { terminal, env, user }),
    root: { path: "rootfs" },
    hostname: "conformance",
    mounts: [
      { destination: "/proc", type: "proc", source: "proc" },
      { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "mode=755", "size=64k"] },
      { destination: "/dev/pts", type: "devpts", source: "devpts", options: ["newinstance", "ptmxmode=0666"] },
    ],
    annotations,
    linux: {
      cgroupsPath: cgroup,
      namespaces: kinds.map((type) => ({ type })),
      ...(resources === undefined ? {} : { resources }),
    },
  };
}

/** Makes a bundle, with its rootfs and working directories and its `log` FIFO open. The caller closes `log`. */
export function makeBundle(place: BundlePlace, id: string, options: BundleOptions = {}): Bundle {
  const path = join(place.dir, id);
  const cgroup = `/${place.token}/${id}`;
  mkdirSync(join(path, "rootfs"), { recursive: true, mode: 0o711 });
  if (options.config !== null) {
    writeFileSync(join(path, "config.json"), options.config ?? JSON.stringify(spec(cgroup, place.token, options)));
  }
  const work = join(place.dir, "..", "w", id);
  mkdirSync(work, { recursive: true, mode: 0o711 });
  symlinkSync(work, join(path, "work"));
  makeFifo(join(path, "log"));
  return { id, path, cgroup, log: openSync(join(path, "log"), constants.O_RDWR | constants.O_NONBLOCK) };
}

export function makeFifo(path: string): void {
  const { exitCode, stderr } = Bun.spawnSync(["mkfifo", "-m", "700", path]);
  if (exitCode !== 0) throw new Error(`mkfifo ${path}: ${stderr.toString().trim()}`);
}
