/** The daemon's tasks, as those who measure want them. */

import type { Task } from "../task/task.ts";
import type { MeteredTask } from "./containers.ts";

/** How long a shim may take to tell its pid. */
const CONNECT_MS = 2000;

/** Pids of shims that have told them: they do not change. */
const pids = new WeakMap<Task, number>();

/** The records of containers. */
interface Containers {
  get(namespace: string, id: string): { readonly runtime?: { readonly name?: string | null } | null };
}

export function meteredTasks(tasks: readonly Task[], containers: Containers): MeteredTask[] {
  return tasks.map((task) => ({
    namespace: task.namespace,
    id: task.id,
    runtime: runtimeOf(task, containers),
    shimPid: () => pidOf(task),
    async stats(signal) {
      const { type_url, value } = (await task.stats(signal)) ?? {};
      return type_url && value ? { type_url, value } : undefined;
    },
  }));
}

async function pidOf(task: Task): Promise<number | undefined> {
  const known = pids.get(task);
  if (known !== undefined) return known;
  try {
    const { shimPid } = await task.shim.call("Connect", { id: task.id }, AbortSignal.timeout(CONNECT_MS));
    pids.set(task, shimPid);
    return shimPid;
  } catch {
    return undefined;
  }
}

/** The runtime's name; empty when there is no record of the container. */
function runtimeOf({ namespace, id }: Task, containers: Containers): string {
  try {
    return containers.get(namespace, id).runtime?.name ?? "";
  } catch {
    return "";
  }
}
