/** A container's bundle: the files that the shim reads and writes in it (contract 1.5). */

import { invalidArgument, messageOf } from "../../proto/errdefs.ts";
import { readFile, readFileIfExists, removeFile, replaceFile } from "../linux/file.ts";
import type { Exit } from "../linux/reaper.ts";
import type { Options } from "./options.ts";
import { type ExitRecord, parseRecord, recordFile } from "./record.ts";

/** What the shim needs to know of config.json. */
export interface BundleSpec {
  readonly annotations: Readonly<Record<string, string>>;
  /** Init has no pid namespace of its own (PR-3). */
  readonly sharesPids: boolean;
  /** Where runc was told to make the container's cgroup; undefined when the spec leaves it to runc. */
  readonly cgroupsPath: string | undefined;
}

/** Labels whose value puts containers into one shim, the first that is there (SK-3). */
const groupLabels = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/** Where runc keeps its state unless Options.root says otherwise. */
const defaultRoot = "/run/containerd/runc";

/** PID_MAX_LIMIT of the kernel. */
const MAX_PID = 1 << 22;

/** The files of the bundle at `path`. */
export class Bundle {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  get rootfs(): string {
    return `${this.path}/rootfs`;
  }

  get initPidFile(): string {
    return `${this.path}/init.pid`;
  }

  get logFile(): string {
    return `${this.path}/log.json`;
  }

  /** The prefix keeps an exec called "init" or "shim" away from our own files. */
  execPidFile(execId: string): string {
    return `${this.path}/exec-${execId}.pid`;
  }

  /**
   * Reads config.json.
   * @throws ContainerdError InvalidArgument when it is missing or no runtime spec
   */
  readSpec(): BundleSpec {
    let value: unknown;
    try {
      value = JSON.parse(readFile(`${this.path}/config.json`));
    } catch (error) {
      throw invalidArgument(`bundle ${this.path}: config.json: ${messageOf(error)}`);
    }
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw invalidArgument(`bundle ${this.path}: config.json is no runtime spec`);
    }
    const { annotations, linux } = value as { annotations?: unknown; linux?: Record<string, unknown> };
    const namespaces = linux?.["namespaces"];
    const own = Array.isArray(namespaces) && namespaces.some(isOwnPidNamespace);
    const cgroup = linux?.["cgroupsPath"];
    const cgroupsPath = typeof cgroup === "string" && cgroup !== "" ? cgroup : undefined;
    return { annotations: strings(annotations), sharesPids: !own, cgroupsPath };
  }

  /** Writes what `delete` needs to know after the shim is gone. @throws ErrnoError */
  writeOptions(options: Options): void {
    replaceFile(`${this.path}/options.json`, JSON.stringify(options));
    replaceFile(`${this.path}/runtime`, options.binaryName);
  }

  /**
   * What `delete` needs of what {@link writeOptions} wrote; undefined where it did not come to that, or the file is
   * damaged.
   */
  readOptions(): Pick<Options, "root" | "binaryName" | "systemdCgroup"> | undefined {
    try {
      const value: unknown = JSON.parse(readFile(`${this.path}/options.json`));
      if (typeof value !== "object" || value === null) return undefined;
      const { root, binaryName, systemdCgroup } = value as Record<string, unknown>;
      return {
        root: typeof root === "string" ? root : "",
        binaryName: typeof binaryName === "string" ? binaryName : "",
        systemdCgroup: systemdCgroup === true,
      };
    } catch {
      return undefined;
    }
  }

  /** The name of the runtime as `delete` finds it; undefined for the default. */
  readRuntime(): string | undefined {
    return readFileIfExists(`${this.path}/runtime`)?.trim() || undefined;
  }

  /** Keeps the end of the container. @throws ErrnoError */
  writeExitRecord(pid: number, exit: Exit, deleted: boolean): void {
    const record: ExitRecord = { pid, exitStatus: exit.status, exitedAt: exit.at, deleted };
    replaceFile(`${this.path}/${recordFile}`, `${JSON.stringify(record)}\n`);
  }

  /** The record of the container's end; undefined when it has not ended under a shim, or the file is damaged. */
  readExitRecord(): ExitRecord | undefined {
    return parseRecord(readFileIfExists(`${this.path}/${recordFile}`) ?? "");
  }

  /** Keeps the socket's address for containerd's reload, in every grouped bundle (ST-11). @throws ErrnoError */
  writeAddress(address: string): void {
    replaceFile(`${this.path}/address`, address, 0o644);
  }

  readAddress(): string | undefined {
    return readFileIfExists(`${this.path}/address`)?.trim() || undefined;
  }

  /** Keeps who serves this bundle, so that `delete` can find what a killed shim left running. @throws ErrnoError */
  writeShimPid(pid: number): void {
    replaceFile(`${this.path}/shim.pid`, `${pid}\n`);
  }

  readShimPid(): number | undefined {
    return parsePid(readFileIfExists(`${this.path}/shim.pid`));
  }

  /**
   * The pid that runc wrote.
   * @throws Error when the file is missing or holds no pid
   */
  readPid(file: string): number {
    const pid = parsePid(readFileIfExists(file));
    if (pid === undefined) throw new Error(`no pid in ${file}`);
    return pid;
  }

  /** Init's pid as runc wrote it; 0 when there is none. */
  initPid(): number {
    return parsePid(readFileIfExists(this.initPidFile)) ?? 0;
  }

  /** Removes a pid file, and what a runc that was killed while it wrote one has left. @throws ErrnoError */
  removePidFile(file: string): void {
    const slash = file.lastIndexOf("/") + 1;
    removeFile(file);
    removeFile(`${file.slice(0, slash)}.${file.slice(slash)}`);
  }
}

/** The id of the group that the bundle's shim serves (SK-3). */
export function groupOf(spec: BundleSpec, id: string): string {
  for (const label of groupLabels) {
    const group = spec.annotations[label];
    if (group !== undefined && group !== "") return group;
  }
  return id;
}

/** `--root` of runc: one directory a namespace (UN-4). */
export function runcRoot(root: string | undefined, namespace: string): string {
  return `${root || defaultRoot}/${namespace}`;
}

function parsePid(text: string | undefined): number | undefined {
  const digits = /^\s*([0-9]{1,7})\s*$/.exec(text ?? "")?.[1];
  const pid = Number(digits);
  return pid > 0 && pid <= MAX_PID ? pid : undefined;
}

function isOwnPidNamespace(namespace: unknown): boolean {
  if (typeof namespace !== "object" || namespace === null) return false;
  const { type, path } = namespace as { type?: unknown; path?: unknown };
  return type === "pid" && (path === undefined || path === null || path === "");
}

function strings(value: unknown): Record<string, string> {
  const all: Record<string, string> = {};
  if (typeof value !== "object" || value === null) return all;
  for (const [key, text] of Object.entries(value)) if (typeof text === "string") all[key] = text;
  return all;
}
