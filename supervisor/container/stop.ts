/** Stopping a container. */

import type { Api } from "../client/api.ts";
import { removeFifos } from "./fifos.ts";
import { labels } from "./labels.ts";
import { signalNumber } from "./signals.ts";
import {
  type ContainerMessage,
  containerOf,
  deleteTask,
  isNotFound,
  killTask,
  setLabels,
  TASKS,
  type TaskState,
  taskOf,
  waitFor,
} from "./task.ts";

/** Docker's. */
const TIMEOUT_MS = 10_000;
/** What was killed is gone in this time, unless the kernel holds it. */
const KILLED_MS = 30_000;
const SIGTERM = 15;
const SIGKILL = 9;

/** How a container is stopped. */
export interface StopOptions {
  /** A name or a number; the container's own unless told. */
  readonly signal?: string;
  /** Milliseconds until it is killed; the container's own unless told. -1: never. */
  readonly timeoutMs?: number;
}

/**
 * Ends a container's task and deletes it, and tells the restart monitor to leave it so, also over a reboot. One that does
 * not run stays as it is.
 * @returns the exit status; undefined when there was no task
 * @throws ContainerdError NotFound for a container that does not exist
 */
export async function stopContainer(
  api: Api,
  namespace: string,
  id: string,
  options: StopOptions = {},
): Promise<number | undefined> {
  const container = await containerOf(api, namespace, id);
  const isMonitored = Boolean(container.labels?.[labels.restart.policy] || container.labels?.[labels.restart.status]);
  if (isMonitored) {
    // Neither "running", so that its end is no reason to start it, nor "stopped", which would have it killed at once.
    const changes = { [labels.restart.status]: "stopping", [labels.restart.explicitlyStopped]: "true" };
    await setLabels(api, namespace, id, changes);
  }
  const task = await taskOf(api, namespace, id);
  const status = task === undefined ? undefined : await end(api, namespace, container, task, options);
  if (isMonitored) await setLabels(api, namespace, id, { [labels.restart.status]: "stopped" });
  return status;
}

async function end(
  api: Api,
  namespace: string,
  container: ContainerMessage,
  task: TaskState,
  options: StopOptions,
): Promise<number | undefined> {
  const id = container.id ?? "";
  if (task.status !== "stopped") {
    const asked = options.signal ?? container.labels?.[labels.stopSignal] ?? "";
    const signal = asked === "" ? SIGTERM : signalNumber(asked);
    const timeoutMs = options.timeoutMs ?? timeoutOf(container);
    await endTask(api, namespace, task, signal, timeoutMs);
  }
  const exit = await deleteTask(api, namespace, id);
  removeFifos(task.stdout);
  return exit?.status;
}

function timeoutOf(container: ContainerMessage): number {
  const text = container.labels?.[labels.stopTimeout] ?? "";
  return /^-?\d{1,12}$/.test(text) ? Number(text) : TIMEOUT_MS;
}

/** Sends a signal, waits, and kills what is left. @throws CallError */
async function endTask(api: Api, namespace: string, task: TaskState, signal: number, timeoutMs: number): Promise<void> {
  const { id } = task;
  const controller = new AbortController();
  const ended = waitFor(api, namespace, id, "", controller.signal).then(
    () => true,
    (error: unknown) => isNotFound(error) || controller.signal.aborted,
  );
  try {
    if (task.status === "created") await kill(api, namespace, id, SIGKILL);
    else {
      await kill(api, namespace, id, signal);
      // What is paused sees a signal when it goes on.
      if (task.status === "paused") await api.call(TASKS, "Resume", { containerId: id }, { namespace });
      if (await within(ended, timeoutMs)) return;
    }
    await kill(api, namespace, id, SIGKILL, true);
    if (!(await within(ended, KILLED_MS))) {
      throw new Error(
        `container ${id} does not end, although it was killed: a process of it (pid ${task.pid}) hangs in the kernel`,
      );
    }
  } finally {
    controller.abort();
  }
}

async function kill(api: Api, namespace: string, id: string, signal: number, all = false): Promise<void> {
  try {
    await killTask(api, namespace, id, signal, { all });
  } catch (error) {
    // It has ended in the meantime.
    if (!isNotFound(error)) throw error;
  }
}

async function within(promise: Promise<unknown>, ms: number): Promise<boolean> {
  if (ms < 0) {
    await promise;
    return true;
  }
  let timer: Timer | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), ms);
  });
  try {
    return (await Promise.race([promise.then(() => true), late])) as boolean;
  } finally {
    clearTimeout(timer);
  }
}
