/** Containers with their tasks, as `stats`, `top`, `df` and `prune` look at them. */

import type { Api } from "../../client/api.ts";
import { dateOf } from "../../client/images.ts";
import { labels as names } from "../../container/labels.ts";
import { countOf, shouldRestart } from "../../restart/policy.ts";

/** Numbers of statuses of a task. */
const statuses = ["unknown", "created", "running", "stopped", "paused", "pausing"] as const;

/** A container and what it does. */
export interface ContainerView {
  readonly id: string;
  readonly image: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly createdAt: Date;
  readonly snapshotter: string;
  readonly snapshotKey: string;
  /** Of its task; `created` also when there is none yet, `stopped` when there was one. */
  readonly status: "created" | "running" | "paused" | "stopped" | "restarting";
  /** The task's first process; 0 without one. */
  readonly pid: number;
  /** Of a task that has ended. */
  readonly exitStatus: number | undefined;
  readonly exitedAt: Date | undefined;
  /** No process of it is there. */
  readonly isStopped: boolean;
  /** The restart monitor starts it again. */
  readonly isKept: boolean;
  /** healthy, unhealthy, starting; empty without a health check. */
  readonly health: string;
  /** How often it was started again. */
  readonly restarts: number;
}

/** All containers of a namespace, by id. @throws CallError */
export async function containersOf(api: Api, namespace: string): Promise<ContainerView[]> {
  const [{ containers }, { tasks }] = await Promise.all([
    api.call("containerd.services.containers.v1.Containers", "List", { filters: [] }, { namespace }),
    api.call("containerd.services.tasks.v1.Tasks", "List", { filter: "" }, { namespace }),
  ]);
  const byId = new Map(tasks.map((task) => [task.id || task.containerId || "", task]));
  return containers
    .map((container): ContainerView => {
      const id = container.id ?? "";
      const labels = { ...container.labels };
      const task = byId.get(id);
      const said = statuses[Number(task?.status ?? 0)] ?? "unknown";
      const isStopped = task === undefined || said === "stopped";
      const hasEnded = said === "stopped";
      const ended = hasEnded ? (task?.exitStatus ?? 0) : undefined;
      const isKept = labels[names.restart.status] === "running" && shouldRestart(labels, ended).yes;
      return {
        id,
        image: container.image ?? "",
        labels,
        createdAt: dateOf(container.createdAt),
        snapshotter: container.snapshotter ?? "",
        snapshotKey: container.snapshotKey ?? "",
        status: statusOf(said, isKept, hasEnded || countOf(labels) > 0),
        pid: task?.pid ?? 0,
        exitStatus: ended,
        exitedAt: hasEnded && task?.exitedAt ? dateOf(task.exitedAt) : undefined,
        isStopped,
        isKept,
        health: labels[names.healthStatus] ?? "",
        restarts: countOf(labels),
      };
    })
    .sort((a, b) => (a.id < b.id ? -1 : 1));
}

function statusOf(task: (typeof statuses)[number], isKept: boolean, hasRun: boolean): ContainerView["status"] {
  if (task === "running" || task === "paused") return task;
  if (task === "pausing") return "paused";
  if (task === "created") return "created";
  if (isKept) return "restarting";
  return task === "stopped" || hasRun ? "stopped" : "created";
}
