/** Removing a container and all that was made for it. */

import { rmSync } from "node:fs";
import { failedPrecondition } from "../../proto/errdefs.ts";
import type { Api } from "../client/api.ts";
import { networkPaths } from "../network/paths.ts";
import { releaseNetwork } from "../network/prepare.ts";
import { removeFifos } from "./fifos.ts";
import { labels } from "./labels.ts";
import { logDirectory, ringDirectory } from "./log-uri.ts";
import { removeVolumes } from "./mounts.ts";
import { type Place, placeOf } from "./place.ts";
import { stopContainer } from "./stop.ts";
import { CONTAINERS, type ContainerMessage, containerOf, deleteTask, isNotFound, SNAPSHOTS, taskOf } from "./task.ts";
import { isVolumeName, Volumes } from "./volumes.ts";

/** How a container is removed. */
export interface RemoveOptions {
  /** End it first. */
  readonly force?: boolean;
  /** Remove its anonymous volumes, too. */
  readonly volumes?: boolean;
}

/**
 * Removes a container with its task, snapshot, log and network files.
 * @throws ContainerdError NotFound for one that does not exist, FailedPrecondition for one that runs without `force`
 */
export async function removeContainer(
  api: Api,
  namespace: string,
  id: string,
  { force = false, volumes = false }: RemoveOptions = {},
): Promise<void> {
  const container = await containerOf(api, namespace, id);
  const task = await taskOf(api, namespace, id);
  if (task !== undefined && task.status !== "stopped" && task.status !== "created" && !force) {
    const how = task.status === "paused" ? "is paused" : "runs";
    throw failedPrecondition(`container ${id} ${how}: stop it first (berth stop ${id}), or use --force`);
  }
  if (task?.status === "stopped") await deleteTask(api, namespace, id);
  else if (task !== undefined) await stopContainer(api, namespace, id, { signal: "KILL", timeoutMs: 5000 });
  if (task !== undefined) removeFifos(task.stdout);
  const place = await placeOf(api);
  // With its record the name is free: what is found by the name alone goes before, lest it be the next one's.
  const problem: unknown = await removeNamed(place, namespace, id).catch((error: unknown) => error);
  await api.call(CONTAINERS, "Delete", { id }, { namespace });
  await removeSnapshot(api, namespace, container);
  if (volumes) removeVolumes(new Volumes(place.root, namespace), anonymousVolumes(container));
  // What is left of a network is the collector's; the container is gone.
  if (problem !== undefined) throw problem;
}

async function removeSnapshot(api: Api, namespace: string, container: ContainerMessage): Promise<void> {
  const { snapshotter = "", snapshotKey: key = "" } = container;
  if (!key) return;
  try {
    await api.call(SNAPSHOTS, "Remove", { snapshotter, key }, { namespace });
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

/** What is kept beside the daemon's records under a container's name. */
async function removeNamed(place: Place, namespace: string, id: string): Promise<void> {
  await releaseNetwork(networkPaths(place.root), namespace, id);
  // A log that the user has put elsewhere is the user's.
  for (const directory of [logDirectory(place, namespace, id), ringDirectory(place, namespace, id)]) {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Names of the volumes that are a container's own. */
export function anonymousVolumes(container: Pick<ContainerMessage, "labels">): string[] {
  try {
    const names: unknown = JSON.parse(container.labels?.[labels.anonymousVolumes] || "[]");
    return Array.isArray(names)
      ? names.filter((name): name is string => typeof name === "string" && isVolumeName(name))
      : [];
  } catch {
    return [];
  }
}
