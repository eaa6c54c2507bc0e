/** The files of a container, running or not. */

import { closeSync, mkdtempSync, openSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, posix } from "node:path";
import { failedPrecondition, notFound } from "../../../proto/errdefs.ts";
import { type Mount, O } from "../../../shim/linux/index.ts";
import type { Api } from "../../client/api.ts";
import type { Tree } from "./request.ts";

const CONTAINERS = "containerd.services.containers.v1.Containers";
const TASKS = "containerd.services.tasks.v1.Tasks";
const SNAPSHOTS = "containerd.services.snapshots.v1.Snapshots";
const RUNNING: ReadonlySet<number> = new Set([1, 2, 4, 5]);

/** A tree that is held open until it is closed. */
export interface HeldTree extends Tree {
  /** Of a container that does not run: what its volumes would cover. */
  readonly covered: readonly string[];
  readonly isRunning: boolean;
  close(): void;
}

/**
 * The tree of a container: what its processes see when it runs, else its snapshot.
 * @throws ContainerdError NotFound
 */
export async function treeOf(api: Api, namespace: string, id: string): Promise<HeldTree> {
  const { container } = await api.call(CONTAINERS, "Get", { id }, { namespace });
  if (!container) throw notFound(`there is no container ${id}`);
  const running = await runningTree(api, namespace, id);
  if (running !== undefined) return running;
  const { snapshotter, snapshotKey: key } = container;
  if (!snapshotter || !key)
    throw failedPrecondition(`container ${id} has no snapshot, and does not run: it has no files`);
  const { mounts } = await api.call(SNAPSHOTS, "Mounts", { snapshotter, key }, { namespace });
  const mountPoint = mkdtempSync(join(tmpdir(), "berth-cp-"));
  return {
    mounts: mounts.map(
      ({ type, source, target, options }): Mount => ({
        type: type ?? "",
        source: source ?? "",
        target: target ?? "",
        options: [...(options ?? [])],
      }),
    ),
    mountPoint,
    isRunning: false,
    covered: mountsOfSpec(container.spec?.value ?? new Uint8Array()),
    close: () => rmdirSync(mountPoint),
  };
}

/** The root of a container's first process, held open; undefined when it does not run. */
async function runningTree(api: Api, namespace: string, id: string): Promise<HeldTree | undefined> {
  const pid = await pidOf(api, namespace, id);
  if (pid === undefined) return undefined;
  const fd = openSync(`/proc/${pid}/root/.`, O.RDONLY | O.DIRECTORY);
  // The process may have ended before its root was opened, and another may have got its number.
  if ((await pidOf(api, namespace, id)) !== pid) {
    closeSync(fd);
    throw failedPrecondition(`container ${id} ended just now: try again`);
  }
  return { root: `/proc/${process.pid}/fd/${fd}`, isRunning: true, covered: [], close: () => closeSync(fd) };
}

async function pidOf(api: Api, namespace: string, id: string): Promise<number | undefined> {
  const task = await api.call(TASKS, "Get", { containerId: id, execId: "" }, { namespace }).catch(() => undefined);
  const { pid, status } = task?.process ?? {};
  return pid && RUNNING.has(Number(status)) ? pid : undefined;
}

/** Where the spec mounts something of the host. */
function mountsOfSpec(spec: Uint8Array): string[] {
  try {
    const { mounts } = JSON.parse(new TextDecoder().decode(spec)) as {
      mounts?: { destination?: string; type?: string }[];
    };
    return (mounts ?? [])
      .filter(({ type }) => type === "bind")
      .map(({ destination }) => posix.normalize(`/${destination ?? ""}`));
  } catch {
    return [];
  }
}
