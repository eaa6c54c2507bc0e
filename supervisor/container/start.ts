/** Starting a container that was made. */

import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { failedPrecondition, messageOf } from "../../proto/errdefs.ts";
import type { Api } from "../client/api.ts";
import { hasFiles, restoreFiles } from "../network/files.ts";
import { networkPaths } from "../network/paths.ts";
import { removeFifos } from "./fifos.ts";
import { labels } from "./labels.ts";
import { logFileOf } from "./log-uri.ts";
import { specType } from "./oci.ts";
import { placeOf } from "./place.ts";
import {
  CONTAINERS,
  type ContainerMessage,
  containerOf,
  deleteTask,
  SNAPSHOTS,
  START_MS,
  setLabels,
  specOf,
  TASKS,
  type TaskStdio,
  taskOf,
} from "./task.ts";

/** How a container is started. */
export interface StartOptions {
  /** Where its streams are; its log, and nobody who writes, unless told. */
  readonly stdio?: TaskStdio;
  /** Called when everything is there and nothing runs yet. */
  readonly onCreated?: () => Promise<void> | void;
}

/**
 * Makes a container's task and starts it; a task that has ended is deleted first. The restart monitor is told that the
 * container is to run.
 * @returns the pid of its first process
 * @throws ContainerdError; FailedPrecondition when it runs already. Then there is no new task
 */
export async function startContainer(
  api: Api,
  namespace: string,
  id: string,
  options: StartOptions = {},
): Promise<{ readonly pid: number }> {
  const container = await containerOf(api, namespace, id);
  const task = await taskOf(api, namespace, id);
  if (task?.status === "paused") throw failedPrecondition(`container ${id} is paused: berth unpause ${id}`);
  if (task?.status === "running" || task?.status === "pausing")
    throw failedPrecondition(`container ${id} runs already`);
  if (task !== undefined) {
    await deleteTask(api, namespace, id);
    removeFifos(task.stdout);
  }
  const policy = container.labels?.[labels.restart.policy];
  const monitored = policy !== undefined && policy !== "" && policy !== "no";
  const before = container.labels?.[labels.restart.status] ?? "";
  if (monitored) {
    // Before it starts: an end that comes at once is the monitor's already.
    const changes = {
      [labels.restart.status]: "running",
      [labels.restart.explicitlyStopped]: "",
      [labels.restart.count]: "",
    };
    await setLabels(api, namespace, id, changes);
  }
  try {
    return await start(api, namespace, container, options);
  } catch (error) {
    if (monitored) await setLabels(api, namespace, id, { [labels.restart.status]: before }).catch(() => undefined);
    throw error;
  }
}

async function start(
  api: Api,
  namespace: string,
  container: ContainerMessage,
  { stdio, onCreated }: StartOptions,
): Promise<{ pid: number }> {
  const id = container.id ?? "";
  await restoreNetworkFiles(api, namespace, container);
  await createTask(api, namespace, container, stdio ?? detachedStdio(container));
  try {
    await onCreated?.();
    const { pid } = await api.call(TASKS, "Start", { containerId: id }, { namespace, deadlineMs: START_MS });
    return { pid };
  } catch (error) {
    await api.call(TASKS, "Kill", { containerId: id, signal: 9, all: true }, { namespace }).catch(() => undefined);
    await api.call(TASKS, "Delete", { containerId: id }, { namespace }).catch(() => undefined);
    throw error;
  }
}

/** The daemon is asked for its place only where something is missing. */
async function restoreNetworkFiles(api: Api, namespace: string, container: ContainerMessage): Promise<void> {
  const { mounts = [] } = specOf<{ mounts?: readonly { destination?: string; source?: string }[] }>(container);
  const hosts = mounts.find(({ destination }) => destination === "/etc/hosts")?.source;
  if (hosts === undefined || hasFiles(dirname(hosts))) return;
  const { root } = await placeOf(api);
  restoreFiles(networkPaths(root), namespace, container.id ?? "", container.spec?.value ?? undefined);
}

/** Output goes to the container's log; nobody writes to it. */
function detachedStdio(container: ContainerMessage): TaskStdio {
  const uri = container.labels?.[labels.log] ?? "";
  const file = logFileOf(uri);
  if (file !== undefined) mkdirSync(dirname(file.path), { recursive: true, mode: 0o750 });
  const { process } = specOf<{ process?: { terminal?: boolean } }>(container);
  const terminal = process?.terminal === true;
  return { stdin: "", stdout: uri, stderr: terminal ? "" : uri, terminal };
}

async function createTask(api: Api, namespace: string, container: ContainerMessage, stdio: TaskStdio): Promise<void> {
  const { id = "", snapshotter = "", snapshotKey = "" } = container;
  const { mounts } = snapshotKey
    ? await api.call(SNAPSHOTS, "Mounts", { snapshotter, key: snapshotKey }, { namespace })
    : { mounts: [] };
  const request = { containerId: id ?? "", rootfs: mounts, ...stdio };
  const options = { namespace, deadlineMs: START_MS };
  try {
    await api.call(TASKS, "Create", request, options);
  } catch (error) {
    // The daemon's runtime has its cgroups from systemd, which wants to be told otherwise where they are.
    if (!messageOf(error).includes("slice:prefix:name")) throw error;
    await moveToSystemd(api, namespace, container);
    await api.call(TASKS, "Create", request, options);
  }
}

async function moveToSystemd(api: Api, namespace: string, container: ContainerMessage): Promise<void> {
  const spec = specOf<{ linux?: { cgroupsPath?: string } }>(container);
  const id = container.id ?? "";
  const cgroupsPath = `system.slice:berth-${namespace}:${id}`;
  const value = new TextEncoder().encode(JSON.stringify({ ...spec, linux: { ...spec.linux, cgroupsPath } }));
  const changed = { id, spec: { type_url: container.spec?.type_url || specType, value } };
  await api.call(CONTAINERS, "Update", { container: changed, updateMask: { paths: ["spec"] } }, { namespace });
}
