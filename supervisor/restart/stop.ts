/** Ending a task: politely where its container says how, and for certain. */

import { constants } from "node:os";
import { labels as names } from "../container/labels.ts";
import { isNotFound, type Task } from "../task/task.ts";

/** How a task is ended. */
export interface Stop {
  /** The number of the signal that asks it to end; SIGKILL does not ask. */
  readonly signal: number;
  /** Milliseconds until SIGKILL. */
  readonly timeoutMs: number;
}

const { SIGKILL, SIGTERM } = constants.signals;
/** As docker waits. */
const DEFAULT_TIMEOUT_MS = 10_000;
/** A label cannot make the daemon wait longer than this. */
const MAX_TIMEOUT_MS = 3_600_000;
/** After SIGKILL a task has this long; one whose process hangs in the kernel takes longer, and is not waited for. */
const KILLED_MS = 10_000;

/** Ends at once, as containerd's monitor does. */
export const atOnce: Stop = { signal: SIGKILL, timeoutMs: 0 };

/**
 * How the labels of a container ask for its end. One that berth made is asked first, with SIGTERM and ten seconds unless
 * it says otherwise; others end as containerd's monitor ends them.
 */
export function stopOf(labels: Readonly<Record<string, string>>): Stop {
  const isOurs = [names.stopSignal, names.stopTimeout, names.app].some((name) => Object.hasOwn(labels, name));
  return isOurs ? politeStopOf(labels) : atOnce;
}

/** {@link stopOf} for who always asks first, such as a machine that goes down. */
export function politeStopOf(labels: Readonly<Record<string, string>>): Stop {
  const timeout = Number(labels[names.stopTimeout] ?? Number.NaN);
  const isTimeout = labels[names.stopTimeout] !== "" && Number.isFinite(timeout) && timeout >= 0;
  return {
    signal: signalOf(labels[names.stopSignal] ?? ""),
    timeoutMs: isTimeout ? Math.min(timeout, MAX_TIMEOUT_MS) : DEFAULT_TIMEOUT_MS,
  };
}

/** A signal by its number or name; SIGTERM for what is neither. */
function signalOf(text: string): number {
  const number = /^\d+$/.test(text) ? Number(text) : 0;
  if (number >= 1 && number <= 64) return number;
  const name = text.toUpperCase();
  const known = constants.signals as Readonly<Record<string, number>>;
  return known[name] ?? known[`SIG${name}`] ?? SIGTERM;
}

/**
 * Ends init of a task. Its task remains, to be deleted.
 * @throws ContainerdError when it cannot be told, or does not end even when it is killed
 */
export async function endTask(task: Pick<Task, "kill" | "wait" | "id">, stop: Stop): Promise<void> {
  try {
    if (stop.signal !== SIGKILL && stop.timeoutMs > 0) {
      await task.kill("", stop.signal, false);
      if (await ends(task, stop.timeoutMs)) return;
    }
    await task.kill("", SIGKILL, true);
    if (!(await ends(task, KILLED_MS))) throw new Error(`${task.id} does not end though it was killed`);
  } catch (error) {
    // Ended already, or gone: then it can be deleted.
    if (!isNotFound(error)) throw error;
  }
}

/** True when init has ended within `ms`. @throws ContainerdError NotFound when it is gone */
async function ends(task: Pick<Task, "wait">, ms: number): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<false>();
  const timer = setTimeout(() => resolve(false), ms);
  try {
    return await Promise.race([task.wait("").then(() => true as const), late]);
  } finally {
    clearTimeout(timer);
  }
}
