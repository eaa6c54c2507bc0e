/**
 * Bundles: the directory that a shim works in, and its twin on disk (contract 1.5; core/runtime/v2/bundle.go).
 *
 * Invariant: nothing is removed through a mount. The rootfs is unmounted and removed as an empty directory first, and a
 * rootfs that is not empty then stops the removal.
 */

import { access, chmod, chown, mkdir, readdir, rename, rm, rmdir, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { messageOf, unknown } from "../../proto/errdefs.ts";
import { unmountRecursive } from "../../shim/linux/index.ts";

/** Where bundles are. */
export interface BundleRoots {
  /** `<root>/io.containerd.runtime.v2.task`: survives a reboot. */
  readonly root: string;
  /** `<state>/io.containerd.runtime.v2.task`: need not. */
  readonly state: string;
}

/** Files that the daemon writes into a bundle. */
export const bundleFiles = {
  config: "config.json",
  program: "shim-binary-path",
  endpoint: "bootstrap.json",
  sandbox: "sandbox",
  log: "log",
  told: "told",
} as const;

/** One bundle, whether it is there or not. */
export class Bundle {
  readonly namespace: string;
  readonly id: string;
  readonly path: string;
  /** The twin on disk, linked to as `work`. */
  readonly work: string;

  constructor(roots: BundleRoots, namespace: string, id: string) {
    this.namespace = namespace;
    this.id = id;
    this.path = join(roots.state, namespace, id);
    this.work = join(roots.root, namespace, id);
  }

  /** The path of a file in the bundle. */
  file(name: keyof typeof bundleFiles): string {
    return join(this.path, bundleFiles[name]);
  }

  /**
   * Makes the directories and writes the specification. What a crash or a failed removal has left there goes first.
   * @param spec JSON of the runtime specification; undefined for a sandbox that has none
   * @throws Error; then nothing is left
   */
  async create(spec: Uint8Array | undefined): Promise<void> {
    const gid = spec === undefined ? 0 : remappedGroup(spec);
    await Promise.all([dirname(this.path), dirname(this.work)].map((path) => mkdir(path, PARENT)));
    try {
      await Promise.all([this.#fresh(this.path, 0o700), this.#fresh(this.work, 0o711)]);
      const rest = [
        mkdir(join(this.path, "rootfs"), { mode: 0o711 }),
        symlink(this.work, join(this.path, "work")),
        spec === undefined ? undefined : writeFile(this.file("config"), spec, { mode: 0o666, flag: "wx" }),
        gid === 0 ? undefined : chown(this.path, 0, gid).then(() => chmod(this.path, 0o710)),
      ];
      await Promise.all(rest);
    } catch (error) {
      await this.remove().catch(() => undefined);
      throw error;
    }
  }

  async #fresh(path: string, mode: number): Promise<void> {
    try {
      await mkdir(path, { mode });
    } catch (error) {
      if (codeOf(error) !== "EEXIST") throw error;
      await this.#removeRootfs();
      await rm(path, { recursive: true });
      await mkdir(path, { mode });
    }
  }

  /** Notes for the next daemon that subscribers were told how the container ended. Never rejects: at worst they hear it again. */
  async noteTold(): Promise<void> {
    await writeFile(this.file("told"), "").catch(() => undefined);
  }

  /** True when an earlier daemon told how the container ended. */
  async isTold(): Promise<boolean> {
    return await access(this.file("told")).then(
      () => true,
      () => false,
    );
  }

  /**
   * Unmounts the rootfs and removes the bundle and its twin, each at once by a rename to a hidden name. Can be repeated.
   * @throws Error when the rootfs stays mounted
   */
  async remove(): Promise<void> {
    await this.#removeRootfs();
    await Promise.all([removeAtOnce(this.path), removeAtOnce(this.work)]);
  }

  async #removeRootfs(): Promise<void> {
    const rootfs = join(this.path, "rootfs");
    try {
      await rmdir(rootfs);
    } catch (error) {
      if (["ENOENT", "ENOTDIR"].includes(codeOf(error))) return;
      // Mounted, or mounts below it.
      try {
        unmountRecursive(rootfs);
        await rmdir(rootfs);
      } catch (cause) {
        throw unknown(`failed to remove bundle rootfs ${rootfs}: ${messageOf(cause)}`, cause);
      }
    }
  }
}

const PARENT = { recursive: true, mode: 0o711 } as const;

/** Names of directories in a directory, without hidden ones; none when it is not there. */
export async function visibleDirectories(path: string): Promise<string[]> {
  try {
    const entries = await readdir(path, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory() && !entry.name.startsWith(".")).map(({ name }) => name);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return [];
    throw error;
  }
}

/** Removes a directory so that nobody meets half of it: it is hidden first. A missing one is fine. */
export async function removeAtOnce(path: string): Promise<void> {
  const hidden = hiddenName(path);
  try {
    await rename(path, hidden);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return;
    if (!["ENOTEMPTY", "EEXIST"].includes(codeOf(error))) throw error;
    // An earlier removal was cut off.
    await rm(hidden, { recursive: true, force: true });
    await rename(path, hidden);
  }
  await rm(hidden, { recursive: true, force: true });
}

function hiddenName(path: string): string {
  return join(dirname(path), `.${path.slice(path.lastIndexOf("/") + 1)}`);
}

/** The group that is root's in a user namespace of the specification; 0 without one. @throws Error for no JSON */
function remappedGroup(spec: Uint8Array): number {
  // Most specifications have no mapping, and need not be parsed to know.
  if (!Buffer.from(spec.buffer, spec.byteOffset, spec.byteLength).includes('"gidMappings"')) return 0;
  const { linux } = JSON.parse(new TextDecoder().decode(spec)) as {
    linux?: { gidMappings?: { containerID?: number; hostID?: number }[] };
  };
  return linux?.gidMappings?.find(({ containerID = 0 }) => containerID === 0)?.hostID ?? 0;
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}
