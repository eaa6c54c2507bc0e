/** Ending every task, those that others depend on last: what a machine does before it goes down. */

import { messageOf } from "../../proto/errdefs.ts";
import type { Log } from "../log/log.ts";
import type { TaskManager } from "../task/manager.ts";
import { isNotFound, type Task } from "../task/task.ts";
import { parseDependencies } from "./dependencies.ts";
import type { ContainerRecord } from "./start.ts";
import { endTask, politeStopOf } from "./stop.ts";

/** What ending all needs. */
export interface ShutdownOptions {
  readonly tasks: Pick<TaskManager, "list" | "delete">;
  /** A container's record; undefined when there is none. */
  readonly find: (namespace: string, id: string) => ContainerRecord | undefined;
  readonly log: Log;
}

/**
 * Ends all tasks of all namespaces, each as its labels say, all at the same time but for dependencies: who depends on
 * another ends first. Labels are not changed, so that the next boot starts what ran.
 * @returns how many ended, and how many did not
 */
export async function endAll(options: ShutdownOptions): Promise<{ ended: number; left: number }> {
  const { tasks, find, log } = options;
  const all = await tasks.list();
  const dependents = new Map<string, Task[]>();
  for (const task of all) {
    const labels = find(task.namespace, task.id)?.labels ?? {};
    for (const { id } of parseDependencies(labels).dependencies) {
      const key = `${task.namespace}/${id}`;
      dependents.set(key, [...(dependents.get(key) ?? []), task]);
    }
  }
  const work = new Map<Task, Promise<boolean>>();
  // A dependent that is being waited for by whom we wait for is not waited for: there is a cycle.
  const end = (task: Task, above: readonly Task[]): Promise<boolean> => {
    const known = work.get(task);
    if (known !== undefined) return known;
    const first = (dependents.get(`${task.namespace}/${task.id}`) ?? []).filter(
      (one) => !above.includes(one) && one !== task,
    );
    const ended = Promise.all(first.map((one) => end(one, [...above, task]))).then(() => endOne(task, options));
    work.set(task, ended);
    return ended;
  };
  const results = await Promise.all(all.map((task) => end(task, [])));
  const left = results.filter((isEnded) => !isEnded).length;
  log.info("stopped all containers", { ended: results.length - left, left });
  return { ended: results.length - left, left };
}

/** Never rejects. */
async function endOne(task: Task, { tasks, find, log }: ShutdownOptions): Promise<boolean> {
  const { namespace, id } = task;
  try {
    await endTask(task, politeStopOf(find(namespace, id)?.labels ?? {}));
    await tasks.delete(task).catch((error: unknown) => {
      if (!isNotFound(error)) throw error;
    });
    log.info("stopped container", { namespace, id });
    return true;
  } catch (error) {
    log.error(`cannot stop: ${messageOf(error)}`, { namespace, id });
    return false;
  }
}
