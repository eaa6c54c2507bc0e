/** A container in one piece: its record, its task, and what its labels say. */

import { readFileSync } from "node:fs";
import type { Api } from "../../client/api.ts";
import { labels } from "../../container/labels.ts";
import { CONTAINERS, type ContainerMessage, dateOf, specOf, type TaskState, tasksOf } from "../../container/task.ts";
import { lastExitOf, shouldRestart } from "../../restart/policy.ts";
import { ago, duration } from "../output/age.ts";

/** What a container does, in docker's words. */
export type State = "created" | "running" | "paused" | "restarting" | "exited";

/** A container, as lists and `inspect` show it. */
export interface Summary {
  readonly id: string;
  readonly image: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly createdAt: Date | undefined;
  readonly state: State;
  readonly pid: number;
  readonly startedAt: Date | undefined;
  readonly exitStatus: number | undefined;
  readonly exitedAt: Date | undefined;
  /** starting, healthy, unhealthy; empty without a check. */
  readonly health: string;
  readonly args: readonly string[];
  readonly ports: readonly Port[];
  readonly networks: readonly string[];
  readonly mounts: readonly { readonly source: string; readonly destination: string; readonly type: string }[];
  readonly record: ContainerMessage;
  readonly task: TaskState | undefined;
}

/** A published port. */
export interface Port {
  readonly hostIp?: string;
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: string;
}

interface Spec {
  readonly process?: { readonly args?: readonly string[] };
  readonly mounts?: readonly { readonly source?: string; readonly destination?: string; readonly type?: string }[];
  readonly annotations?: Readonly<Record<string, string>>;
}

/** All containers of a namespace, the newest first. @throws CallError */
export async function summaries(api: Api, namespace: string): Promise<Summary[]> {
  const [{ containers }, tasks] = await Promise.all([
    api.call(CONTAINERS, "List", { filters: [] }, { namespace }),
    tasksOf(api, namespace),
  ]);
  return containers
    .map((record) => summaryOf(record, tasks.get(record.id ?? "")))
    .sort((a, b) => (b.createdAt?.getTime() ?? 0) - (a.createdAt?.getTime() ?? 0));
}

/** One container. @param task undefined when it has none */
export function summaryOf(record: ContainerMessage, task: TaskState | undefined): Summary {
  const own = { ...record.labels } as Record<string, string>;
  let spec: Spec = {};
  try {
    spec = specOf<Spec>(record);
  } catch {
    // A list shows the others all the same.
  }
  const request = parse<{ networks?: { name?: string }[]; ports?: Port[] }>(
    spec.annotations?.[labels.network] ?? own[labels.network],
  );
  const said = own[labels.exitStatus];
  const saidAt = own[labels.exitedAt];
  const ended = task?.status === "stopped" ? task : undefined;
  const exitStatus = ended?.exitStatus ?? (task === undefined && said ? Number(said) : undefined);
  const state = stateOf(task, exitStatus, own);
  return {
    id: record.id ?? "",
    image: record.image ?? "",
    labels: own,
    createdAt: dateOf(record.createdAt),
    state,
    pid: state === "running" || state === "paused" ? (task?.pid ?? 0) : 0,
    startedAt: task !== undefined && ended === undefined ? startOf(task.pid) : undefined,
    exitStatus,
    exitedAt: ended?.exitedAt ?? (exitStatus !== undefined && saidAt ? new Date(saidAt) : undefined),
    health: state === "running" ? (own[labels.healthStatus] ?? (own[labels.health] ? "starting" : "")) : "",
    args: spec.process?.args ?? [],
    ports: request?.ports ?? [],
    networks: own[labels.networkMode]
      ? [own[labels.networkMode] ?? ""]
      : (request?.networks ?? []).flatMap(({ name }) => name ?? []),
    mounts: (spec.mounts ?? []).flatMap(({ source = "", destination = "", type = "" }) =>
      isUsers(source, destination, type) ? [{ source, destination, type }] : [],
    ),
    record,
    task,
  };
}

/** True for a mount that somebody asked for. */
function isUsers(source: string, destination: string, type: string): boolean {
  if (type === "tmpfs") return source === "tmpfs" && destination !== "/dev";
  return type === "bind" && !/\/network\/containers\/[^/]+\/[^/]+\/(hosts|hostname|resolv\.conf)$/.test(source);
}

function stateOf(task: TaskState | undefined, exitStatus: number | undefined, own: Record<string, string>): State {
  if (task?.status === "running") return "running";
  if (task?.status === "paused" || task?.status === "pausing") return "paused";
  const isKept = own[labels.restart.status] === "running" && shouldRestart(own, exitStatus ?? lastExitOf(own)).yes;
  if (task?.status !== "created" && isKept && (exitStatus !== undefined || task === undefined)) return "restarting";
  return exitStatus === undefined ? "created" : "exited";
}

/** A container's status in words: `Up 5 minutes (healthy)`, `Exited (1) 2 hours ago`. */
export function statusText({ state, startedAt, exitStatus, exitedAt, health }: Summary, now = new Date()): string {
  switch (state) {
    case "running":
    case "paused": {
      const since = startedAt === undefined ? "" : ` ${duration(Math.max(0, now.getTime() - startedAt.getTime()))}`;
      return `Up${since}${state === "paused" ? " (Paused)" : health === "" ? "" : ` (${health})`}`;
    }
    case "created":
      return "Created";
    default: {
      const when = exitedAt === undefined ? "" : ` ${ago(exitedAt, now)}`;
      const word = state === "restarting" ? "Restarting" : "Exited";
      return `${word}${exitStatus === undefined ? "" : ` (${exitStatus})`}${when}`;
    }
  }
}

/** Published ports: `0.0.0.0:8080->80/tcp`. */
export function portsText(ports: readonly Port[]): string {
  return ports
    .map(({ hostIp = "0.0.0.0", hostPort, containerPort, protocol }) => {
      return `${hostIp.includes(":") ? `[${hostIp}]` : hostIp}:${hostPort}->${containerPort}/${protocol}`;
    })
    .join(", ");
}

/** Ticks of the kernel in a second, as it tells them (USER_HZ). */
const HZ = 100;

/** When a process of this machine started, by the clock of now: a clock that jumped does not make it older. */
function startOf(pid: number): Date | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name of the program, in parentheses, may have spaces and parentheses in it.
    const ticks = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]);
    const uptime = Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]);
    return new Date(Date.now() - Math.max(0, uptime - ticks / HZ) * 1000);
  } catch {
    return undefined;
  }
}

function parse<T>(text: string | undefined): T | undefined {
  try {
    return text ? (JSON.parse(text) as T) : undefined;
  } catch {
    return undefined;
  }
}
