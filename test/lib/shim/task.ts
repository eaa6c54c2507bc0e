/** The Task service of a shim (contract 1.8): its 17 methods with types, over ttrpc. */

import { containerd, google } from "../../../proto/gen/shim.js";
import type { CallOptions, Client } from "../../../proto/ttrpc/index.ts";

const messages = containerd.task.v2;
const { Empty } = google.protobuf;
const processType = "types.containerd.io/opencontainers/runtime-spec/1/Process";
const resourcesType = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";

/** Names of the states that State reports (T-STT-1). */
export const statuses = ["UNKNOWN", "CREATED", "RUNNING", "STOPPED", "PAUSED", "PAUSING"] as const;

/** A process as State tells it. */
export interface TaskState {
  readonly id: string;
  readonly execId: string;
  readonly bundle: string;
  readonly pid: number;
  readonly status: (typeof statuses)[number];
  readonly exitStatus: number;
  /** Milliseconds since the epoch, with a fraction; 0 when it has not ended. */
  readonly exitedAt: number;
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
}

/** How a process ended. */
export interface TaskExit {
  readonly exitStatus: number;
  readonly exitedAt: number;
}

/** Paths of FIFOs or log URIs; empty is /dev/null. */
export interface TaskStdio {
  readonly stdin?: string;
  readonly stdout?: string;
  readonly stderr?: string;
  readonly terminal?: boolean;
}

type CreateRequest = containerd.task.v2.CreateTaskRequest.$Properties;
type Codec<Request, Response> = readonly [
  { encode(message: Request): { finish(): Uint8Array } },
  { decode(bytes: Uint8Array): Response },
];

/** Milliseconds of a protobuf timestamp. */
export function milliseconds(time: google.protobuf.Timestamp.$Properties | null | undefined): number {
  const seconds = time?.seconds ?? 0;
  const whole = typeof seconds === "number" ? seconds : seconds.high * 2 ** 32 + (seconds.low >>> 0);
  return whole * 1000 + (time?.nanos ?? 0) / 1e6;
}

/** A value as an Any whose body is JSON. */
export function jsonAny(typeUrl: string, value: unknown): { type_url: string; value: Uint8Array } {
  return { type_url: typeUrl, value: new TextEncoder().encode(JSON.stringify(value)) };
}

/** Calls the Task service on one connection. Every method rejects with TtrpcError. */
export class TaskClient {
  readonly client: Client;
  readonly service: string;

  /** @param version 2 or 3 of the service (TT-7) */
  constructor(client: Client, version: 2 | 3 = 2) {
    this.client = client;
    this.service = `containerd.task.v${version}.Task`;
  }

  /** Any call; a limit of 20 s unless the options have one. */
  call<Request, Response>(
    method: string,
    [request, response]: Codec<Request, Response>,
    message: Request,
    options: CallOptions = {},
  ): Promise<Response> {
    return this.client.call(this.service, method, request, response, message, { timeoutMs: 20_000, ...options });
  }

  async state(id: string, execId = "", options?: CallOptions): Promise<TaskState> {
    const answer = await this.call("State", [messages.StateRequest, messages.StateResponse], { id, execId }, options);
    // Fields that were not sent are on the prototype, so they are named one by one.
    return {
      id: answer.id,
      execId: answer.execId,
      bundle: answer.bundle,
      pid: answer.pid,
      status: statuses[answer.status] ?? "UNKNOWN",
      exitStatus: answer.exitStatus,
      exitedAt: milliseconds(answer.exitedAt),
      stdin: answer.stdin,
      stdout: answer.stdout,
      stderr: answer.stderr,
      terminal: answer.terminal,
    };
  }

  /** Answers the pid. */
  async create(request: CreateRequest, options?: CallOptions): Promise<number> {
    const codec = [messages.CreateTaskRequest, messages.CreateTaskResponse] as const;
    return (await this.call("Create", codec, request, options)).pid;
  }

  /** Answers the pid. */
  async start(id: string, execId = "", options?: CallOptions): Promise<number> {
    const codec = [messages.StartRequest, messages.StartResponse] as const;
    return (await this.call("Start", codec, { id, execId }, options)).pid;
  }

  async delete(id: string, execId = "", options?: CallOptions): Promise<TaskExit & { pid: number }> {
    const codec = [messages.DeleteRequest, messages.DeleteResponse] as const;
    const { pid, exitStatus, exitedAt } = await this.call("Delete", codec, { id, execId }, options);
    return { pid, exitStatus, exitedAt: milliseconds(exitedAt) };
  }

  /** Pids with the exec id of those that Exec started (T-PID-1). */
  async pids(id: string, options?: CallOptions): Promise<{ pid: number; execId: string; typeUrl: string }[]> {
    const { processes } = await this.call("Pids", [messages.PidsRequest, messages.PidsResponse], { id }, options);
    return processes.map(({ pid, info }) => {
      const details = info ? containerd.runc.v1.ProcessDetails.decode(info.value ?? new Uint8Array()) : undefined;
      return { pid: pid ?? 0, execId: details?.execId ?? "", typeUrl: info?.type_url ?? "" };
    });
  }

  async pause(id: string, options?: CallOptions): Promise<void> {
    await this.call("Pause", [messages.PauseRequest, Empty], { id }, options);
  }

  async resume(id: string, options?: CallOptions): Promise<void> {
    await this.call("Resume", [messages.ResumeRequest, Empty], { id }, options);
  }

  async checkpoint(id: string, path: string, options?: CallOptions): Promise<void> {
    await this.call("Checkpoint", [messages.CheckpointTaskRequest, Empty], { id, path }, options);
  }

  async kill(id: string, signal = 9, more: { execId?: string; all?: boolean } = {}, o?: CallOptions): Promise<void> {
    await this.call("Kill", [messages.KillRequest, Empty], { id, signal, ...more }, o);
  }

  /** @param process an OCI process, see `processSpec` */
  async exec(
    id: string,
    execId: string,
    process: unknown,
    stdio: TaskStdio = {},
    options?: CallOptions,
  ): Promise<void> {
    const request = { id, execId, spec: jsonAny(processType, process), ...stdio };
    await this.call("Exec", [messages.ExecProcessRequest, Empty], request, options);
  }

  async resizePty(id: string, width: number, height: number, execId = "", options?: CallOptions): Promise<void> {
    await this.call("ResizePty", [messages.ResizePtyRequest, Empty], { id, execId, width, height }, options);
  }

  async closeIO(id: string, execId = "", stdin = true, options?: CallOptions): Promise<void> {
    await this.call("CloseIO", [messages.CloseIORequest, Empty], { id, execId, stdin }, options);
  }

  /** @param resources LinuxResources */
  async update(id: string, resources: unknown, options?: CallOptions): Promise<void> {
    const request = { id, resources: jsonAny(resourcesType, resources) };
    await this.call("Update", [messages.UpdateTaskRequest, Empty], request, options);
  }

  async wait(id: string, execId = "", options?: CallOptions): Promise<TaskExit> {
    const answer = await this.call("Wait", [messages.WaitRequest, messages.WaitResponse], { id, execId }, options);
    return { exitStatus: answer.exitStatus, exitedAt: milliseconds(answer.exitedAt) };
  }

  async stats(id: string, options?: CallOptions): Promise<{ typeUrl: string; value: Uint8Array }> {
    const { stats } = await this.call("Stats", [messages.StatsRequest, messages.StatsResponse], { id }, options);
    return { typeUrl: stats?.type_url ?? "", value: stats?.value ?? new Uint8Array() };
  }

  async connect(id: string, options?: CallOptions): Promise<{ shimPid: number; taskPid: number; version: string }> {
    const codec = [messages.ConnectRequest, messages.ConnectResponse] as const;
    const { shimPid, taskPid, version } = await this.call("Connect", codec, { id }, options);
    return { shimPid, taskPid, version };
  }

  async shutdown(id: string, now = false, options?: CallOptions): Promise<void> {
    await this.call("Shutdown", [messages.ShutdownRequest, Empty], { id, now }, options);
  }
}
