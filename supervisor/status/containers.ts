/** Containers as the status tells of them. */

import { containerd } from "../../proto/gen/supervisor.js";
import { labels as names } from "../container/labels.ts";
import type { HealthRoom } from "../health/room.ts";
import type { RestartMonitor } from "../restart/monitor.ts";
import type { Containers } from "../store/containers.ts";
import type { Namespaces } from "../store/namespaces.ts";
import type { TaskManager } from "../task/manager.ts";
import { processAge } from "./node.ts";
import type { Measured, Sampler } from "./sampler.ts";

const { Status } = containerd.v1.types;

/** A container. Times are seconds. */
export interface ContainerStatus {
  readonly namespace: string;
  readonly id: string;
  readonly image: string;
  /** created, running, stopped, paused, pausing or unknown; empty without a task. */
  readonly status: string;
  readonly pid: number;
  /** Of the last run; undefined while it runs, and when it is not known. */
  readonly exitStatus: number | undefined;
  /** How long it has run. */
  readonly age: number | undefined;
  readonly createdAt: string | undefined;
  /** starting, healthy or unhealthy; undefined without a check. */
  readonly health: string | undefined;
  readonly failingStreak: number;
  /** What the last check printed that failed. */
  readonly healthOutput: string | undefined;
  /** Starts by the daemon since it runs. */
  readonly restarts: number;
  /** What went wrong last. */
  readonly lastError: string | undefined;
  /** What it waits for before it starts. */
  readonly waitingFor: readonly string[];
  readonly nextStartInMs: number | undefined;
  readonly hasGivenUp: boolean;
  readonly app: string | undefined;
  readonly service: string | undefined;
  /** Published ports in words: `8080->80/tcp`. */
  readonly ports: readonly string[];
  readonly hasLog: boolean;
  readonly usage: Measured | undefined;
}

/** Where containers are looked for. */
export interface ContainersParts {
  readonly namespaces: Pick<Namespaces, "list">;
  readonly containers: Pick<Containers, "list">;
  readonly tasks: Pick<TaskManager, "find">;
  readonly monitor: Pick<RestartMonitor, "describe">;
  readonly health: Pick<HealthRoom, "status" | "get">;
  readonly sampler: Pick<Sampler, "usage">;
}

/** How long a shim may take to tell its state. */
const STATE_MS = 2000;
/** Containers that are shown, at most: more are counted by metrics. */
const MAX_CONTAINERS = 500;
/** Namespaces of clients that keep containers for their own purposes. */
const MAX_ERROR = 500;

type Record = ReturnType<Containers["list"]>[number];

/** All containers of all namespaces, those of one application together. */
export async function containerStatuses(parts: ContainersParts): Promise<ContainerStatus[]> {
  const all = parts.namespaces
    .list()
    .flatMap(({ name }) => parts.containers.list(name).map((record) => ({ namespace: name, record })));
  const found = await Promise.all(
    all.slice(0, MAX_CONTAINERS).map(({ namespace, record }) => statusOf(parts, namespace, record)),
  );
  const key = ({ app = "", namespace, id }: ContainerStatus): string => `${namespace}\0${app}\0${id}`;
  return found.sort((a, b) => (key(a) < key(b) ? -1 : 1));
}

async function statusOf(parts: ContainersParts, namespace: string, record: Record): Promise<ContainerStatus> {
  const { id, image, labels, createdAt } = record;
  const state = await stateOf(parts, namespace, id);
  const description = parts.monitor.describe(namespace, id);
  const isRunning = state?.status === Status.RUNNING;
  const health = healthOf(parts, namespace, id);
  const lastExit = state?.status === Status.STOPPED ? state.exitStatus : description?.lastExit;
  const seconds = createdAt?.seconds;
  return {
    ...{ namespace, id, image },
    status: state === undefined ? "" : statusName(state.status),
    pid: state?.pid ?? 0,
    exitStatus: isRunning ? undefined : lastExit,
    age: isRunning ? processAge(state.pid) : undefined,
    createdAt: seconds ? new Date(Number(seconds) * 1000).toISOString() : undefined,
    ...health,
    restarts: description?.restarts ?? 0,
    lastError: description?.lastError?.slice(0, MAX_ERROR) ?? (isRunning ? undefined : description?.reason),
    waitingFor: description?.waitingFor ?? [],
    nextStartInMs: description?.nextAttemptInMs,
    hasGivenUp: description?.hasGivenUp ?? false,
    app: labels[names.app] ?? labels[names.composeProject],
    service: labels[names.appService] ?? labels[names.composeService],
    ports: portsOf(labels[names.network]),
    hasLog: (labels[names.log] ?? "").startsWith("file:"),
    usage: isRunning ? parts.sampler.usage(namespace, id) : undefined,
  };
}

async function stateOf({ tasks }: ContainersParts, namespace: string, id: string) {
  const task = tasks.find(namespace, id);
  if (task === undefined) return undefined;
  try {
    const late = Bun.sleep(STATE_MS).then(() => undefined);
    const state = await Promise.race([task.state(""), late]);
    return state ?? { status: Status.UNKNOWN, pid: 0, exitStatus: 0 };
  } catch {
    return undefined;
  }
}

function statusName(status: number): string {
  const [name = "unknown"] = Object.entries(Status).find(([, value]) => value === status) ?? [];
  return name.toLowerCase();
}

function healthOf({ health }: ContainersParts, namespace: string, id: string) {
  const status = health.status(namespace, id);
  if (status === undefined) return { health: undefined, failingStreak: 0, healthOutput: undefined };
  try {
    const { streak, results } = health.get(namespace, id);
    const failed = results.findLast(({ result }) => result !== "success");
    return { health: status, failingStreak: streak, healthOutput: failed?.output.slice(-MAX_ERROR) };
  } catch {
    return { health: status, failingStreak: 0, healthOutput: undefined };
  }
}

/** The published ports of a NetworkRequest. */
function portsOf(request: string | undefined): string[] {
  if (request === undefined) return [];
  try {
    const { ports } = JSON.parse(request) as { ports?: unknown };
    if (!Array.isArray(ports)) return [];
    return ports.slice(0, 50).map((port) => {
      const { hostIp, hostPort, containerPort, protocol } = port as { readonly [name: string]: unknown };
      const from = typeof hostIp === "string" && hostIp !== "" ? `${hostIp}:` : "";
      return `${from}${String(hostPort)}->${String(containerPort)}/${String(protocol ?? "tcp")}`;
    });
  } catch {
    return [];
  }
}
