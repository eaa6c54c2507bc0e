/** What `start`, `stop`, `restart`, `kill`, `rm`, `pause`, `unpause` and `wait` do. Each returns the exit status. */

import { failedPrecondition, invalidArgument, notFound } from "../../../proto/errdefs.ts";
import { labels } from "../../container/labels.ts";
import { removeContainer } from "../../container/remove.ts";
import { signalNumber } from "../../container/signals.ts";
import { startContainer } from "../../container/start.ts";
import { type StopOptions, stopContainer } from "../../container/stop.ts";
import { containerOf, isNotFound, killTask, setLabels, specOf, TASKS, taskOf, waitFor } from "../../container/task.ts";
import type { Connection } from "../connect.ts";
import { each } from "./each.ts";
import { runForeground } from "./foreground.ts";
import { detachKeysOf, numberOf } from "./parse.ts";

/** How `start` stays with a container. */
export interface StartFlags {
  readonly attach?: boolean;
  readonly interactive?: boolean;
  readonly detachKeys: string;
}

export async function start(
  { api, namespace }: Connection,
  ids: readonly string[],
  flags: StartFlags,
): Promise<number> {
  const [id = "", ...more] = ids;
  if (!flags.attach && !flags.interactive) return each(ids, (one) => startContainer(api, namespace, one));
  if (more.length > 0) throw invalidArgument("only one container can be stayed with: leave -a and -i away");
  const container = await containerOf(api, namespace, id);
  const { process } = specOf<{ process?: { terminal?: boolean } }>(container);
  return runForeground(api, namespace, id, {
    tty: process?.terminal === true,
    stdin: flags.interactive ?? false,
    detachKeys: detachKeysOf(flags.detachKeys),
    proxy: true,
    remove: container.labels?.[labels.autoRemove] === "true",
  });
}

/** How `stop` and `restart` end a container. */
export interface StopFlags {
  readonly time?: string;
  readonly timeout?: string;
  readonly signal?: string;
}

function stopOptions({ time, timeout, signal }: StopFlags): StopOptions {
  if (signal !== undefined) signalNumber(signal);
  const text = time ?? timeout;
  const seconds = text === undefined ? undefined : numberOf("--time", text, -1);
  return {
    ...(signal === undefined ? {} : { signal }),
    ...(seconds === undefined ? {} : { timeoutMs: seconds < 0 ? -1 : Math.round(seconds * 1000) }),
  };
}

export async function stop({ api, namespace }: Connection, ids: readonly string[], flags: StopFlags): Promise<number> {
  const options = stopOptions(flags);
  return each(ids, async (id) => {
    await stopContainer(api, namespace, id, options);
  });
}

export async function restart(
  { api, namespace }: Connection,
  ids: readonly string[],
  flags: StopFlags,
): Promise<number> {
  const options = stopOptions(flags);
  return each(ids, async (id) => {
    await stopContainer(api, namespace, id, options);
    await startContainer(api, namespace, id);
  });
}

export async function kill(
  { api, namespace }: Connection,
  ids: readonly string[],
  flags: { readonly signal: string },
): Promise<number> {
  const signal = signalNumber(flags.signal);
  return each(ids, async (id) => {
    const container = await containerOf(api, namespace, id);
    const task = await taskOf(api, namespace, id);
    if (task === undefined || task.status === "stopped") throw failedPrecondition(`container ${id} does not run`);
    const ends = [9, signalNumber(container.labels?.[labels.stopSignal] || "TERM")].includes(signal);
    if (ends && container.labels?.[labels.restart.status]) {
      const changes = { [labels.restart.status]: "stopping", [labels.restart.explicitlyStopped]: "true" };
      await setLabels(api, namespace, id, changes);
    }
    try {
      await killTask(api, namespace, id, signal);
    } catch (error) {
      if (isNotFound(error)) throw failedPrecondition(`container ${id} does not run any more`);
      throw error;
    }
  });
}

export async function remove(
  { api, namespace }: Connection,
  ids: readonly string[],
  flags: { readonly force?: boolean; readonly volumes?: boolean },
): Promise<number> {
  return each(ids, async (id) => {
    try {
      await removeContainer(api, namespace, id, flags);
    } catch (error) {
      // Docker's --force: what is not there is as it shall be.
      if (!flags.force || !isNotFound(error)) throw error;
      return null;
    }
    return id;
  });
}

export async function pause({ api, namespace }: Connection, ids: readonly string[]): Promise<number> {
  return each(ids, async (id) => {
    await mustRun(api, namespace, id);
    await api.call(TASKS, "Pause", { containerId: id }, { namespace });
  });
}

export async function unpause({ api, namespace }: Connection, ids: readonly string[]): Promise<number> {
  return each(ids, async (id) => {
    const task = await mustRun(api, namespace, id);
    if (task.status !== "paused") throw failedPrecondition(`container ${id} is not paused`);
    await api.call(TASKS, "Resume", { containerId: id }, { namespace });
  });
}

export async function wait({ api, namespace }: Connection, ids: readonly string[]): Promise<number> {
  return each(ids, async (id) => {
    const container = await containerOf(api, namespace, id);
    try {
      const { status } = await waitFor(api, namespace, id);
      return String(status);
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
    const status = container.labels?.[labels.exitStatus];
    if (status) return status;
    throw notFound(`container ${id} has not run yet: berth start ${id}`);
  });
}

/** The task of a container that runs, or is paused. @throws ContainerdError that says what to do */
export async function mustRun(api: Connection["api"], namespace: string, id: string) {
  await containerOf(api, namespace, id);
  const task = await taskOf(api, namespace, id);
  if (task === undefined || task.status === "stopped" || task.status === "created") {
    throw failedPrecondition(`container ${id} does not run: berth start ${id}`);
  }
  return task;
}
