/** containerd's Tasks service over gRPC, for what ctr has no verb for: creating without starting, waiting, exact codes. */

import { connect as connectHttp2, constants } from "node:http2";
import { connect as connectUnix } from "node:net";
import protobuf from "protobufjs";
import type { Daemon } from "./daemon.ts";
import { imageName } from "./image.ts";
import { runtime } from "./paths.ts";

const schema = protobuf.parse(`syntax = "proto3";
message Any { string type_url = 1; bytes value = 2; }
message Mount { string type = 1; string source = 2; string target = 3; repeated string options = 4; }
message Timestamp { int64 seconds = 1; int32 nanos = 2; }
message Process { string container_id = 1; string id = 2; uint32 pid = 3; uint32 status = 4; string stdin = 5; string stdout = 6;
  string stderr = 7; bool terminal = 8; uint32 exit_status = 9; Timestamp exited_at = 10; }
message CreateRequest { string container_id = 1; repeated Mount rootfs = 3; string stdin = 4; string stdout = 5; string stderr = 6;
  bool terminal = 7; Any options = 9; string runtime_path = 10; }
message ExecRequest { string container_id = 1; string stdin = 2; string stdout = 3; string stderr = 4; bool terminal = 5; Any spec = 6;
  string exec_id = 7; }
message IdRequest { string container_id = 1; string exec_id = 2; }
message KillRequest { string container_id = 1; string exec_id = 2; uint32 signal = 3; bool all = 4; }
message CloseIORequest { string container_id = 1; string exec_id = 2; bool stdin = 3; }
message ResizePtyRequest { string container_id = 1; string exec_id = 2; uint32 width = 3; uint32 height = 4; }
message UpdateRequest { string container_id = 1; Any resources = 2; }
message PidResponse { string container_id = 1; uint32 pid = 2; }
message StartResponse { uint32 pid = 1; }
message GetResponse { Process process = 1; }
message ProcessInfo { uint32 pid = 1; Any info = 2; }
message ListPidsResponse { repeated ProcessInfo processes = 1; }
message WaitResponse { uint32 exit_status = 1; Timestamp exited_at = 2; }
message DeleteResponse { string id = 1; uint32 pid = 2; uint32 exit_status = 3; Timestamp exited_at = 4; }
message Metric { Timestamp timestamp = 1; string id = 2; Any data = 3; }
message MetricsRequest { repeated string filters = 1; }
message MetricsResponse { repeated Metric metrics = 1; }
message Empty { }
`).root;

/** gRPC's status codes that the tests name. */
export const code = { notFound: 5, alreadyExists: 6, failedPrecondition: 9, unimplemented: 12, unknown: 2 } as const;

/** A call that was answered with a status other than OK. */
export class RpcError extends Error {
  override name = "RpcError";
  /** gRPC's status code. */
  readonly code: number;
  constructor(method: string, status: number, message: string) {
    super(`${method}: code ${status}: ${message}`);
    this.code = status;
  }
}

/** A task's or an exec's state, as Get tells it. */
export interface TaskState {
  pid: number;
  status: "UNKNOWN" | "CREATED" | "RUNNING" | "STOPPED" | "PAUSED" | "PAUSING";
  exitStatus: number;
}

const statuses = ["UNKNOWN", "CREATED", "RUNNING", "STOPPED", "PAUSED", "PAUSING"] as const;

/** Paths of FIFOs or log URIs; empty means /dev/null. */
export interface Stdio {
  stdin?: string;
  stdout?: string;
  stderr?: string;
  terminal?: boolean;
}

/** A client of one daemon's Tasks service; every call has a limit and throws {@link RpcError}. */
export class Tasks {
  readonly #daemon: Daemon;

  constructor(daemon: Daemon) {
    this.#daemon = daemon;
  }

  /** Makes the container and its task, and starts nothing: the state is CREATED. Returns the pid. */
  async create(
    id: string,
    image: string,
    command: readonly string[],
    runtime: string,
    io: Stdio = {},
  ): Promise<number> {
    await this.createContainer(id, image, command, runtime);
    return await this.createTask(id, io);
  }

  /**
   * Makes a container without a task.
   * @param image none when the flags name a spec of its own (`--config`)
   * @param flags of `ctr containers create`
   */
  async createContainer(
    id: string,
    image: string,
    command: readonly string[],
    runtime: string,
    flags: readonly string[] = [],
  ): Promise<void> {
    // ctr takes a "--" after a flag without a value for something else.
    const argv = ["containers", "create", ...flags, "--runtime", runtime, "--"];
    argv.push(...(image === "" ? [id] : [image, id, ...command]));
    await this.#daemon.ctr(argv, { check: true });
  }

  /**
   * Makes the task of a container that exists.
   * @param more further fields of the request, such as `options`; `rootfs` replaces the snapshot's mounts
   */
  async createTask(id: string, io: Stdio = {}, more: Record<string, unknown> = {}, timeout?: number): Promise<number> {
    const rootfs = more["rootfs"] ?? (await this.#snapshotMounts(id));
    const request = { containerId: id, ...io, ...more, rootfs };
    const answer = await this.call("Create", "CreateRequest", request, "PidResponse", timeout);
    return Number(answer["pid"]);
  }

  async #snapshotMounts(id: string): Promise<unknown> {
    const daemon = this.#daemon;
    const argv = ["snapshots", "--snapshotter", daemon.snapshotter, "mounts", "/mnt", id];
    return (await daemon.ctr(argv, { check: true })).stdout.trim().split("\n").map(parseMount);
  }

  async start(id: string, execId = ""): Promise<number> {
    return Number((await this.call("Start", "IdRequest", { containerId: id, execId }, "StartResponse"))["pid"]);
  }

  async get(id: string, execId = ""): Promise<TaskState> {
    const answer = await this.call("Get", "IdRequest", { containerId: id, execId }, "GetResponse");
    const process = answer["process"] as { pid: number; status: number; exitStatus: number };
    return { pid: process.pid, status: statuses[process.status] ?? "UNKNOWN", exitStatus: process.exitStatus };
  }

  /** Answers the exit status, when there is one. */
  async wait(id: string, execId = "", timeout = 20_000): Promise<number> {
    const answer = await this.call("Wait", "IdRequest", { containerId: id, execId }, "WaitResponse", timeout);
    return Number(answer["exitStatus"]);
  }

  async kill(id: string, signal: number, options: { execId?: string; all?: boolean } = {}): Promise<void> {
    await this.call("Kill", "KillRequest", { containerId: id, signal, ...options }, "Empty");
  }

  /** Adds an exec process with the given OCI process; it is not started. */
  async exec(id: string, execId: string, process: Record<string, unknown>, io: Stdio = {}): Promise<void> {
    const spec = {
      typeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Process",
      value: new TextEncoder().encode(JSON.stringify(process)),
    };
    await this.call("Exec", "ExecRequest", { containerId: id, execId, spec, ...io }, "Empty");
  }

  async pause(id: string): Promise<void> {
    await this.call("Pause", "IdRequest", { containerId: id }, "Empty");
  }

  async resume(id: string): Promise<void> {
    await this.call("Resume", "IdRequest", { containerId: id }, "Empty");
  }

  async closeStdin(id: string, execId = ""): Promise<void> {
    await this.call("CloseIO", "CloseIORequest", { containerId: id, execId, stdin: true }, "Empty");
  }

  /** Changes limits; `resources` is OCI's LinuxResources. */
  async update(id: string, resources: Record<string, unknown>): Promise<void> {
    const any = {
      typeUrl: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources",
      value: new TextEncoder().encode(JSON.stringify(resources)),
    };
    await this.call("Update", "UpdateRequest", { containerId: id, resources: any }, "Empty");
  }

  async pids(id: string): Promise<number[]> {
    const answer = await this.call("ListPids", "IdRequest", { containerId: id }, "ListPidsResponse");
    return ((answer["processes"] ?? []) as { pid: number }[]).map((p) => p.pid);
  }

  /** Deletes the task; answers its exit status. */
  async delete(id: string): Promise<{ pid: number; exitStatus: number }> {
    const answer = await this.call("Delete", "IdRequest", { containerId: id }, "DeleteResponse");
    return { pid: Number(answer["pid"]), exitStatus: Number(answer["exitStatus"]) };
  }

  async deleteExec(id: string, execId: string): Promise<{ pid: number; exitStatus: number }> {
    const answer = await this.call("DeleteProcess", "IdRequest", { containerId: id, execId }, "DeleteResponse");
    return { pid: Number(answer["pid"]), exitStatus: Number(answer["exitStatus"]) };
  }

  /** Waits for the end of a task, deletes it and its container, and answers the exit status that Delete gave. */
  async finish(id: string): Promise<number> {
    await this.wait(id);
    const { exitStatus } = await this.delete(id);
    await this.removeContainer(id);
    return exitStatus;
  }

  /** Sends a signal, SIGKILL unless told, and then does what {@link finish} does. */
  async killAndFinish(id: string, signal = 9): Promise<number> {
    await this.kill(id, signal);
    return await this.finish(id);
  }

  /** Deletes the container and its snapshot; its task must be gone. */
  async removeContainer(id: string): Promise<void> {
    await this.#daemon.ctr(["containers", "delete", id], { check: true });
  }

  /** Type URL and bytes of the task's metrics (T-STS-1). */
  async metrics(id: string): Promise<{ typeUrl: string; value: Uint8Array }> {
    const answer = await this.call("Metrics", "MetricsRequest", { filters: [`id==${id}`] }, "MetricsResponse");
    const metric = (answer["metrics"] as { data: { typeUrl: string; value: Uint8Array } }[] | undefined)?.[0];
    if (!metric) throw new Error(`no metrics for ${id}`);
    return metric.data;
  }

  /** One unary call. @throws RpcError */
  async call(
    method: string,
    requestType: string,
    request: Record<string, unknown>,
    responseType: string,
    timeout = 20_000,
  ): Promise<Record<string, unknown>> {
    const type = schema.lookupType(requestType);
    const body = await unary(
      this.#daemon.address,
      `/containerd.services.tasks.v1.Tasks/${method}`,
      this.#daemon.namespace,
      type.encode(type.fromObject(request)).finish(),
      timeout,
    );
    const answer = schema.lookupType(responseType);
    return answer.toObject(answer.decode(body), { defaults: true, longs: Number });
  }
}

/** Reads a line of `ctr snapshots mounts`: `mount -t TYPE SOURCE TARGET -o OPTIONS`. */
function parseMount(line: string): { type: string; source: string; options: string[] } {
  const [, , type = "", source = "", , , options = ""] = line.split(" ");
  return { type, source, options: options.split(",") };
}

function unary(
  socket: string,
  path: string,
  namespace: string,
  message: Uint8Array,
  timeout: number,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const session = connectHttp2("http://localhost", { createConnection: () => connectUnix(socket) });
    const limit = setTimeout(() => finish(new Error(`${path}: no answer in ${timeout} ms`)), timeout);
    const chunks: Uint8Array[] = [];
    let status: string | undefined;
    let text = "";
    const finish = (error?: Error): void => {
      clearTimeout(limit);
      session.destroy();
      if (error) reject(error);
      else if (status !== "0") reject(new RpcError(path, Number(status ?? 2), decodeURIComponent(text)));
      else resolve(Buffer.concat(chunks).subarray(5));
    };
    session.on("error", (error) => finish(error));
    const stream = session.request({
      [constants.HTTP2_HEADER_METHOD]: "POST",
      [constants.HTTP2_HEADER_PATH]: path,
      [constants.HTTP2_HEADER_TE]: "trailers",
      [constants.HTTP2_HEADER_CONTENT_TYPE]: "application/grpc",
      "containerd-namespace": namespace,
    });
    const headers = (all: Record<string, unknown>): void => {
      if (all["grpc-status"] === undefined) return;
      status = String(all["grpc-status"]);
      text = String(all["grpc-message"] ?? "");
    };
    stream.on("response", headers);
    stream.on("trailers", headers);
    stream.on("data", (chunk: Uint8Array) => chunks.push(chunk));
    stream.on("error", (error) => finish(error));
    stream.on("end", () => finish());
    const frame = Buffer.alloc(5 + message.length);
    frame.writeUInt32BE(message.length, 1);
    frame.set(message, 5);
    stream.end(frame);
  });
}

/** The error of a task that cannot be made; its container is removed. @throws Error when it could be made */
export async function refused(tasks: Tasks, id: string, io: Stdio): Promise<RpcError> {
  try {
    await tasks.create(id, imageName, ["true"], runtime, io);
  } catch (error) {
    if (!(error instanceof RpcError)) throw error;
    await tasks.removeContainer(id);
    return error;
  }
  throw new Error("the task was made, and should not have been");
}
