/** The Task service of a shim (contract 1.8), as containerd calls it: every call and its answer go into the transcript. */

import { containerd, type google } from "../../../proto/gen/shim.js";
import { codeText, show } from "../assert.ts";
import { Skip } from "../check.ts";
import type { Connection } from "./connection.ts";
import { wide } from "./number.ts";
import type { Transcript } from "./transcript.ts";
import { StatusError } from "./wire.ts";

const messages = containerd.task.v2;
const processType = "types.containerd.io/opencontainers/runtime-spec/1/Process";
const resourcesType = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";

/** Names of the statuses that State reports (T-STT-1), by number. */
export const statuses = ["UNKNOWN", "CREATED", "RUNNING", "STOPPED", "PAUSED", "PAUSING"] as const;
export type Status = (typeof statuses)[number];

/** A process as State tells it. */
export interface TaskState {
  readonly id: string;
  readonly execId: string;
  readonly bundle: string;
  readonly pid: number;
  readonly status: Status;
  readonly exitStatus: number;
  /** Milliseconds since the epoch; 0 when it was not sent. */
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

/** Paths of FIFOs or URIs; empty is /dev/null. */
export interface Stdio {
  readonly stdin?: string;
  readonly stdout?: string;
  readonly stderr?: string;
  readonly terminal?: boolean;
}

/** Any, as containerd writes it: the type URL is the bare name. */
export interface Any {
  readonly type_url: string;
  readonly value: Uint8Array;
}

/** The type of runc's own runtime options. */
export const runcOptionsType = "containerd.runc.v1.Options";

/** Runtime options as an Any of runc's type. */
export function runcOptions(options: containerd.runc.v1.Options.$Properties): Any {
  return { type_url: runcOptionsType, value: containerd.runc.v1.Options.encode(options).finish() };
}

export type CreateRequest = containerd.task.v2.CreateTaskRequest.$Properties;

/** Limits and metadata of a call. */
export interface CallOptions {
  /** Told to the shim as timeout_nano (TT-4). */
  readonly timeoutMs?: number;
  /** The namespace of the call's metadata, where it is not the check's own. */
  readonly namespace?: string;
}

/** Milliseconds of a protobuf timestamp. */
export function milliseconds(time: google.protobuf.Timestamp.$Properties | null | undefined): number {
  return wide(time?.seconds) * 1000 + (time?.nanos ?? 0) / 1e6;
}

/** A value as an Any whose body is JSON. */
export function jsonAny(typeUrl: string, value: unknown): Any {
  return { type_url: typeUrl, value: new TextEncoder().encode(JSON.stringify(value)) };
}

interface Codec<Request, Response> {
  readonly request: { encode(message: Request): { finish(): Uint8Array } };
  readonly response?: { decode(bytes: Uint8Array): Response };
}

export class Task {
  readonly connection: Connection;
  readonly service: string;
  readonly #namespace: string;
  readonly #transcript: Transcript;

  /** @param version of the service (TT-7): what the shim announced in its answer to `start` */
  constructor(connection: Connection, version: number, namespace: string, transcript: Transcript) {
    this.connection = connection;
    this.service = `containerd.task.v${version >= 3 ? 3 : 2}.Task`;
    this.#namespace = namespace;
    this.#transcript = transcript;
  }

  async call<Request, Response>(
    method: string,
    codec: Codec<Request, Response>,
    message: Request,
    options: CallOptions = {},
  ): Promise<Response> {
    const sent = `${method} ${show(message)}`;
    const metadata = { "containerd-namespace-ttrpc": options.namespace ?? this.#namespace };
    const payload = codec.request.encode(message).finish();
    const { service } = this;
    try {
      const bytes = await this.connection.call({ service, method, payload, timeoutMs: options.timeoutMs, metadata });
      const answer = codec.response?.decode(bytes) as Response;
      this.#transcript.add("rpc", `${sent} -> ${answer === undefined ? "{}" : show(answer)}`);
      return answer;
    } catch (error) {
      const what = error instanceof StatusError ? codeText(error.code) : (error as Error).name;
      this.#transcript.add("rpc", `${sent} -> ${what}: ${(error as Error).message}`);
      throw error;
    }
  }

  /** A call of what a shim may lack (contract 1.8). @throws Skip when it answers Unimplemented */
  async #optional<Request>(method: string, codec: Codec<Request, void>, message: Request): Promise<void> {
    try {
      await this.call(method, codec, message);
    } catch (error) {
      if (error instanceof StatusError && error.code === 12) throw new Skip(`the shim has no ${method}`);
      throw error;
    }
  }

  async create(message: CreateRequest, options?: CallOptions): Promise<number> {
    const codec = { request: messages.CreateTaskRequest, response: messages.CreateTaskResponse };
    return (await this.call("Create", codec, message, options)).pid;
  }

  async start(id: string, execId = "", options?: CallOptions): Promise<number> {
    const codec = { request: messages.StartRequest, response: messages.StartResponse };
    return (await this.call("Start", codec, { id, execId }, options)).pid;
  }

  async state(id: string, execId = "", options?: CallOptions): Promise<TaskState> {
    const codec = { request: messages.StateRequest, response: messages.StateResponse };
    const answer = await this.call("State", codec, { id, execId }, options);
    const { bundle, pid, exitStatus, stdin, stdout, stderr, terminal } = answer;
    const status = statuses[answer.status] ?? "UNKNOWN";
    const exitedAt = milliseconds(answer.exitedAt);
    const names = { id: answer.id, execId: answer.execId, bundle };
    return { ...names, pid, status, exitStatus, exitedAt, stdin, stdout, stderr, terminal };
  }

  async delete(id: string, execId = "", options?: CallOptions): Promise<TaskExit & { readonly pid: number }> {
    const codec = { request: messages.DeleteRequest, response: messages.DeleteResponse };
    const { pid, exitStatus, exitedAt } = await this.call("Delete", codec, { id, execId }, options);
    return { pid, exitStatus, exitedAt: milliseconds(exitedAt) };
  }

  /** Pids; those that Exec started with their exec id (T-PID-1). */
  async pids(id: string): Promise<{ readonly pid: number; readonly typeUrl: string; readonly execId: string }[]> {
    const codec = { request: messages.PidsRequest, response: messages.PidsResponse };
    const { processes } = await this.call("Pids", codec, { id });
    return processes.map(({ pid, info }) => {
      const details = info ? containerd.runc.v1.ProcessDetails.decode(info.value ?? new Uint8Array()) : undefined;
      return { pid: pid ?? 0, typeUrl: info?.type_url ?? "", execId: details?.execId ?? "" };
    });
  }

  async pause(id: string): Promise<void> {
    await this.#optional("Pause", { request: messages.PauseRequest }, { id });
  }

  async resume(id: string): Promise<void> {
    await this.#optional("Resume", { request: messages.ResumeRequest }, { id });
  }

  async kill(id: string, signal = 9, more: { execId?: string; all?: boolean } = {}): Promise<void> {
    await this.call("Kill", { request: messages.KillRequest }, { id, signal, ...more });
  }

  /** @param process an OCI process */
  async exec(id: string, execId: string, process: unknown, stdio: Stdio = {}): Promise<void> {
    const message = { id, execId, spec: jsonAny(processType, process), ...stdio };
    await this.call("Exec", { request: messages.ExecProcessRequest }, message);
  }

  async resizePty(id: string, width: number, height: number, execId = ""): Promise<void> {
    await this.call("ResizePty", { request: messages.ResizePtyRequest }, { id, execId, width, height });
  }

  async closeIO(id: string, execId = ""): Promise<void> {
    await this.call("CloseIO", { request: messages.CloseIORequest }, { id, execId, stdin: true });
  }

  /** @param resources OCI LinuxResources */
  async update(id: string, resources: unknown): Promise<void> {
    const message = { id, resources: jsonAny(resourcesType, resources) };
    await this.#optional("Update", { request: messages.UpdateTaskRequest }, message);
  }

  async wait(id: string, execId = "", options?: CallOptions): Promise<TaskExit> {
    const codec = { request: messages.WaitRequest, response: messages.WaitResponse };
    const answer = await this.call("Wait", codec, { id, execId }, options);
    return { exitStatus: answer.exitStatus, exitedAt: milliseconds(answer.exitedAt) };
  }

  async stats(id: string): Promise<Any> {
    const codec = { request: messages.StatsRequest, response: messages.StatsResponse };
    const { stats } = await this.call("Stats", codec, { id });
    return { type_url: stats?.type_url ?? "", value: stats?.value ?? new Uint8Array() };
  }

  async connect(id: string): Promise<{ readonly shimPid: number; readonly taskPid: number; readonly version: string }> {
    const codec = { request: messages.ConnectRequest, response: messages.ConnectResponse };
    const { shimPid, taskPid, version } = await this.call("Connect", codec, { id });
    return { shimPid, taskPid, version };
  }

  /** @param exit whether the container ends with it */
  async checkpoint(id: string, path: string, exit = false): Promise<void> {
    const value = containerd.runc.v1.CheckpointOptions.encode({ exit }).finish();
    const options = exit ? { options: { type_url: "containerd.runc.v1.CheckpointOptions", value } } : {};
    await this.#optional("Checkpoint", { request: messages.CheckpointTaskRequest }, { id, path, ...options });
  }

  async shutdown(id: string): Promise<void> {
    await this.call("Shutdown", { request: messages.ShutdownRequest }, { id });
  }
}
