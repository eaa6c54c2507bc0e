/** What `inspect` and `port` do. */

import { failedPrecondition, notFound } from "../../../proto/errdefs.ts";
import type { Api } from "../../client/api.ts";
import { labels } from "../../container/labels.ts";
import { logFileOf } from "../../container/log-uri.ts";
import type { OciSpec } from "../../container/oci.ts";
import { containerOf, dateOf, isNotFound, specOf, taskOf } from "../../container/task.ts";
import type { Connection } from "../connect.ts";
import { inspectImage } from "../image/inspect.ts";
import { shownJson } from "../output/escape.ts";
import { fill, type Item } from "../output/list.ts";
import { note, print } from "../output/terminal.ts";
import { FAILED } from "../status.ts";
import { type Summary, statusText, summaryOf } from "./summary.ts";

const NOWHERE = "0001-01-01T00:00:00Z";

/** @returns the exit status */
export async function inspect(
  { api, namespace }: Connection,
  names: readonly string[],
  { format, type }: { readonly format?: string; readonly type?: string },
): Promise<number> {
  const found: Item[] = [];
  let status = 0;
  for (const name of names) {
    const item = await itemOf(api, namespace, name, type);
    if (item !== undefined) found.push(item);
    else {
      status = FAILED;
      note(
        `berth inspect: there is no ${type ?? "container or image"} ${name}: berth ps -a and berth images list them\n`,
      );
    }
  }
  if (format === undefined) await print(`${shownJson(found, 2)}\n`);
  else for (const item of found) await print(`${format === "json" ? shownJson(item) : fill(format, item)}\n`);
  return status;
}

async function itemOf(api: Api, namespace: string, name: string, type: string | undefined): Promise<Item | undefined> {
  if (type !== "image") {
    try {
      return await inspectContainer(api, namespace, name);
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
  if (type === "container") return undefined;
  try {
    return await inspectImage(api, namespace, name);
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

/** What is known of a container, under docker's names; what docker has no name for stands under Labels and Spec. */
export async function inspectContainer(api: Api, namespace: string, id: string): Promise<Item> {
  const record = await containerOf(api, namespace, id);
  const container = summaryOf(record, await taskOf(api, namespace, id));
  const spec = specOf<Partial<OciSpec>>(record);
  const own = container.labels;
  const resources = spec.linux?.resources;
  const policy = (own[labels.restart.policy] || "no").split(":");
  return {
    Id: container.id,
    Name: container.id,
    Namespace: namespace,
    Created: container.createdAt?.toISOString() ?? NOWHERE,
    Path: container.args[0] ?? "",
    Args: container.args.slice(1),
    State: await stateOf(api, namespace, container),
    Image: container.image,
    ResolvConfPath: sourceOf(spec, "/etc/resolv.conf"),
    HostnamePath: sourceOf(spec, "/etc/hostname"),
    HostsPath: sourceOf(spec, "/etc/hosts"),
    LogPath: logFileOf(own[labels.log] ?? "")?.path ?? "",
    RestartCount: Number(own[labels.restart.count] || 0),
    Driver: record.snapshotter ?? "",
    SnapshotKey: record.snapshotKey ?? "",
    Runtime: record.runtime?.name ?? "",
    HostConfig: {
      LogConfig: own[labels.log] ?? "",
      NetworkMode: container.networks.join(","),
      PortBindings: bindingsOf(container),
      RestartPolicy: { Name: policy[0], MaximumRetryCount: Number(policy[1] ?? 0) },
      AutoRemove: own[labels.autoRemove] === "true",
      Privileged: spec.linux?.maskedPaths?.length === 0,
      ReadonlyRootfs: spec.root?.readonly ?? false,
      Memory: resources?.memory?.limit ?? 0,
      MemorySwap: resources?.memory?.swap ?? 0,
      MemoryReservation: resources?.memory?.reservation ?? 0,
      CpuShares: resources?.cpu?.shares ?? 0,
      CpuQuota: resources?.cpu?.quota ?? 0,
      CpuPeriod: resources?.cpu?.period ?? 0,
      NanoCpus: resources?.cpu?.quota ? (resources.cpu.quota / (resources.cpu.period ?? 100_000)) * 1e9 : 0,
      CpusetCpus: resources?.cpu?.cpus ?? "",
      PidsLimit: resources?.pids?.limit ?? null,
      CgroupPath: spec.linux?.cgroupsPath ?? "",
    },
    Mounts: container.mounts.map(({ source, destination, type }) => {
      const [, name] = /\/volumes\/[^/]+\/([^/]+)\/_data$/.exec(source) ?? [];
      const options = spec.mounts?.find((mount) => mount.destination === destination)?.options ?? [];
      return {
        Type: name === undefined ? type : "volume",
        ...(name === undefined ? {} : { Name: name }),
        Source: source,
        Destination: destination,
        RW: !options.includes("ro"),
      };
    }),
    Config: {
      Hostname: spec.hostname ?? "",
      User: `${spec.process?.user?.uid ?? 0}:${spec.process?.user?.gid ?? 0}`,
      Tty: spec.process?.terminal ?? false,
      OpenStdin: own[labels.stdin] === "true",
      Env: spec.process?.env ?? [],
      Cmd: container.args,
      Image: container.image,
      WorkingDir: spec.process?.cwd ?? "/",
      Labels: own,
      Healthcheck: parse(own[labels.health]),
      StopSignal: own[labels.stopSignal] ?? "",
      StopTimeout: own[labels.stopTimeout] ? Number(own[labels.stopTimeout]) / 1000 : null,
    },
    NetworkSettings: {
      Ports: bindingsOf(container),
      Networks: Object.fromEntries(container.networks.map((name) => [name, {}])),
      Request: parse(spec.annotations?.[labels.network]),
    },
    Spec: spec,
  };
}

async function stateOf(api: Api, namespace: string, container: Summary): Promise<Item> {
  const { state, pid, exitStatus, startedAt, exitedAt, task, id } = container;
  const health = container.labels[labels.health] === undefined ? undefined : await healthOf(api, namespace, container);
  return {
    Status: state,
    StatusText: statusText(container),
    Running: state === "running" || state === "paused",
    Paused: state === "paused",
    Restarting: state === "restarting",
    Pid: pid,
    ExitCode: exitStatus ?? 0,
    StartedAt: startedAt?.toISOString() ?? NOWHERE,
    FinishedAt: exitedAt?.toISOString() ?? NOWHERE,
    ...(health === undefined ? {} : { Health: health }),
    ...(await restartsOf(api, namespace, id)),
    ...(task === undefined ? {} : { Stdout: task.stdout }),
  };
}

/** What berthd knows of the container's checks; of another daemon's only the label. */
async function healthOf(api: Api, namespace: string, { id, health }: Summary): Promise<Item> {
  try {
    const answer = await api.call("berth.v1.Health", "Get", { containerId: id }, { namespace });
    return {
      Status: answer.status || health,
      FailingStreak: answer.failingStreak,
      Log: answer.results.map(({ startedAt, exitCode, output, result }) => ({
        Start: dateOf(startedAt)?.toISOString() ?? NOWHERE,
        ExitCode: exitCode,
        Result: result,
        Output: output,
      })),
    };
  } catch {
    return { Status: health };
  }
}

async function restartsOf(api: Api, namespace: string, id: string): Promise<Item> {
  try {
    const answer = await api.call("berth.v1.Upkeep", "DescribeRestarts", { containerId: id }, { namespace });
    return { Error: answer.lastError, WaitingFor: answer.waitingFor };
  } catch {
    return {};
  }
}

function bindingsOf({ ports }: Summary): Item {
  const bindings: Record<string, { HostIp: string; HostPort: string }[]> = {};
  for (const { hostIp = "0.0.0.0", hostPort, containerPort, protocol } of ports) {
    const key = `${containerPort}/${protocol}`;
    bindings[key] = [...(bindings[key] ?? []), { HostIp: hostIp, HostPort: String(hostPort) }];
  }
  return bindings;
}

function sourceOf({ mounts = [] }: Partial<OciSpec>, destination: string): string {
  return mounts.find((mount) => mount.destination === destination)?.source ?? "";
}

function parse(text: string | undefined): unknown {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}

/** @returns the exit status */
export async function port({ api, namespace }: Connection, id: string, wanted: string | undefined): Promise<number> {
  const container = summaryOf(await containerOf(api, namespace, id), undefined);
  const [number, protocol = "tcp"] = (wanted ?? "").split("/");
  const found = container.ports.filter(
    (one) => wanted === undefined || (String(one.containerPort) === number && one.protocol === protocol),
  );
  if (found.length === 0) {
    if (wanted === undefined) return 0;
    throw container.ports.length === 0
      ? failedPrecondition(`container ${id} publishes no port: publish one with berth run -p`)
      : notFound(`container ${id} does not publish ${number}/${protocol}: berth port ${id} lists what it does`);
  }
  for (const { hostIp = "0.0.0.0", hostPort, containerPort, protocol: kind } of found) {
    const address = `${hostIp.includes(":") ? `[${hostIp}]` : hostIp}:${hostPort}`;
    await print(wanted === undefined ? `${containerPort}/${kind} -> ${address}\n` : `${address}\n`);
  }
  return 0;
}
