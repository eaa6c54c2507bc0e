/** The task of a container, as a client of the Tasks service sees it. */

import { ContainerdError, notFound } from "../../proto/errdefs.ts";
import { containerd } from "../../proto/gen/supervisor.js";
import { Code } from "../../proto/ttrpc/status.ts";
import type { Api, ResponseOf } from "../client/api.ts";
import { labels } from "./labels.ts";

/** Names of the services that containers are handled by. */
export const CONTAINERS = "containerd.services.containers.v1.Containers";
export const TASKS = "containerd.services.tasks.v1.Tasks";
export const SNAPSHOTS = "containerd.services.snapshots.v1.Snapshots";

const { Status } = containerd.v1.types;
/** Starting may run hooks, pull in a network, boot a machine. */
export const START_MS = 300_000;
/** Deleting waits for output that nobody has read yet. */
const DELETE_MS = 60_000;

/** What a task does. */
export type TaskStatus = "created" | "running" | "stopped" | "paused" | "pausing" | "unknown";

const statuses = new Map<number, TaskStatus>([
  [Status.CREATED, "created"],
  [Status.RUNNING, "running"],
  [Status.STOPPED, "stopped"],
  [Status.PAUSED, "paused"],
  [Status.PAUSING, "pausing"],
]);

/** A task, or a process in it. */
export interface TaskState {
  readonly id: string;
  readonly pid: number;
  readonly status: TaskStatus;
  readonly exitStatus: number;
  readonly exitedAt: Date | undefined;
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
}

/** Where a process's streams are: FIFOs, or the URI of a log; empty for nowhere. */
export interface TaskStdio {
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
}

/** How a process has ended. */
export interface Exit {
  readonly status: number;
  readonly at: Date | undefined;
}

/** A container's record. */
export type ContainerMessage = NonNullable<ResponseOf<typeof CONTAINERS, "Get">["container"]>;

type ProcessMessage = NonNullable<ResponseOf<typeof TASKS, "Get">["process"]>;

/** A moment of a message; undefined where it is absent or zero. */
export function dateOf(
  time: { readonly seconds?: unknown; readonly nanos?: number | null } | null | undefined,
): Date | undefined {
  const seconds = Number(time?.seconds ?? 0);
  // Go's zero time is before the epoch.
  return seconds > 0 ? new Date(seconds * 1000 + Math.floor((time?.nanos ?? 0) / 1e6)) : undefined;
}

/** True when the error is that something does not exist. */
export function isNotFound(error: unknown): boolean {
  return error instanceof ContainerdError && error.code === Code.NotFound;
}

/** A container's record. @throws ContainerdError NotFound that says what to do */
export async function containerOf(api: Api, namespace: string, id: string): Promise<ContainerMessage> {
  try {
    const { container } = await api.call(CONTAINERS, "Get", { id }, { namespace });
    if (container) return container;
  } catch (error) {
    if (!isNotFound(error) && !(error instanceof ContainerdError && error.code === Code.InvalidArgument)) throw error;
  }
  throw notFound(`there is no container ${id} in namespace ${namespace}: berth ps -a lists them`);
}

/** The state of a task; undefined when there is none. @throws CallError */
export async function taskOf(api: Api, namespace: string, id: string, execId = ""): Promise<TaskState | undefined> {
  try {
    const { process } = await api.call(TASKS, "Get", { containerId: id, execId }, { namespace });
    return process ? stateOf(process) : undefined;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

/** All tasks of a namespace, by the container's id. @throws CallError */
export async function tasksOf(api: Api, namespace: string): Promise<Map<string, TaskState>> {
  const { tasks } = await api.call(TASKS, "List", {}, { namespace });
  return new Map(tasks.map((task) => [task.id ?? "", stateOf(task)]));
}

function stateOf({
  id,
  pid,
  status,
  exitStatus,
  exitedAt,
  stdin,
  stdout,
  stderr,
  terminal,
}: ProcessMessage): TaskState {
  return {
    id: id ?? "",
    pid: pid ?? 0,
    status: statuses.get(status ?? 0) ?? "unknown",
    exitStatus: exitStatus ?? 0,
    exitedAt: dateOf(exitedAt),
    stdin: stdin ?? "",
    stdout: stdout ?? "",
    stderr: stderr ?? "",
    terminal: terminal ?? false,
  };
}

/** Waits for the end of a task or of a process in it, however long that takes. @throws CallError */
export async function waitFor(
  api: Api,
  namespace: string,
  id: string,
  execId = "",
  signal?: AbortSignal,
): Promise<Exit> {
  const options = { namespace, signal, deadlineMs: 0 };
  const { exitStatus, exitedAt } = await api.call(TASKS, "Wait", { containerId: id, execId }, options);
  return { status: exitStatus, at: dateOf(exitedAt) };
}

/** Sends a signal. @param all to every process of the container @throws CallError */
export async function killTask(
  api: Api,
  namespace: string,
  id: string,
  signal: number,
  options: { readonly execId?: string; readonly all?: boolean } = {},
): Promise<void> {
  await api.call(TASKS, "Kill", { containerId: id, signal, ...options }, { namespace });
}

/** Deletes a task that has ended, and writes down how. @returns undefined when there was none @throws CallError */
export async function deleteTask(api: Api, namespace: string, id: string): Promise<Exit | undefined> {
  let exit: Exit;
  try {
    const options = { namespace, deadlineMs: DELETE_MS };
    const { exitStatus, exitedAt } = await api.call(TASKS, "Delete", { containerId: id }, options);
    exit = { status: exitStatus, at: dateOf(exitedAt) };
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
  await setLabels(api, namespace, id, {
    [labels.exitStatus]: String(exit.status),
    [labels.exitedAt]: (exit.at ?? new Date()).toISOString(),
  }).catch((error: unknown) => {
    // The container went in the meantime.
    if (!isNotFound(error)) throw error;
  });
  return exit;
}

/** Changes labels of a container; an empty text takes one away. @throws CallError */
export async function setLabels(
  api: Api,
  namespace: string,
  id: string,
  changes: Readonly<Record<string, string>>,
): Promise<void> {
  const paths = Object.keys(changes).map((key) => `labels.${key}`);
  const container = { id, labels: { ...changes } };
  await api.call(CONTAINERS, "Update", { container, updateMask: { paths } }, { namespace });
}

/** A container's OCI spec, as JSON. @throws ContainerdError for one that is none */
export function specOf<T = Record<string, unknown>>(container: ContainerMessage): T {
  const value = container.spec?.value;
  try {
    return JSON.parse(new TextDecoder().decode(value ?? new Uint8Array())) as T;
  } catch {
    throw new ContainerdError(
      Code.DataLoss,
      `the spec of container ${container.id} is no JSON: remove it (berth rm -f)`,
    );
  }
}
