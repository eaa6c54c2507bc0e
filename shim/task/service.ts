/** The Task service: decodes, finds the container, calls it, encodes (contract 1.8). One service object for one shim. */

import { alreadyExists, invalidArgument, messageOf, notFound } from "../../proto/errdefs.ts";
import { containerd, google } from "../../proto/gen/shim.js";
import { type Service, unary } from "../../proto/ttrpc/service.ts";
import { type Any, jsonTypes, packAny, typeName } from "../../proto/typeurl.ts";
import { checkpoint } from "../container/checkpoint.ts";
import { Container, checkCreate, type Host } from "../container/container.ts";
import { parseOptions } from "../container/options.ts";
import { CgroupGoneError, readStats } from "../linux/cgroup/index.ts";
import { timestamp } from "./timestamp.ts";

const task = containerd.task.v2;
const { Empty } = google.protobuf;
const nothing = {};

/** The containers of a shim and what clients do with them. */
export class TaskService {
  readonly containers = new Map<string, Container>();
  /** Ids of containers that are being created. */
  readonly #creating = new Set<string>();
  readonly #host: Host;
  readonly #onShutdown: () => void;
  readonly #onActivity: () => void;
  readonly #onEmpty: () => void;

  /**
   * @param onShutdown called when a client asks an empty shim to end; the answer has not been sent yet
   * @param onActivity called for every request
   * @param onEmpty called when there is no container any more, or none came to be
   */
  constructor(host: Host, onShutdown: () => void, onActivity: () => void, onEmpty: () => void) {
    this.#host = host;
    this.#onShutdown = onShutdown;
    this.#onActivity = onActivity;
    this.#onEmpty = onEmpty;
  }

  /** True when no container exists or is being made. */
  get isEmpty(): boolean {
    return this.containers.size === 0 && this.#creating.size === 0;
  }

  /** @throws ContainerdError NotFound */
  #container(id: string): Container {
    this.#onActivity();
    const container = this.containers.get(id);
    if (container === undefined) throw notFound("container not created");
    return container;
  }

  async #create(request: containerd.task.v2.CreateTaskRequest, signal: AbortSignal): Promise<{ pid: number }> {
    this.#onActivity();
    const { id, bundle, terminal, stdin, stdout, stderr } = request;
    checkCreate(id, bundle);
    if (this.containers.has(id) || this.#creating.has(id)) throw alreadyExists(`container ${id} already exists`);
    const options = parseOptions(request.options);
    const rootfs = request.rootfs.map((mount) => ({
      type: mount.type ?? "",
      source: mount.source ?? "",
      target: mount.target ?? "",
      options: mount.options ?? [],
    }));
    const checked = { id, bundle, rootfs, terminal, stdin, stdout, stderr, checkpoint: request.checkpoint, options };
    this.#creating.add(id);
    try {
      const container = await Container.create(checked, this.#host, signal);
      this.containers.set(id, container);
      return { pid: container.init.pid };
    } finally {
      this.#creating.delete(id);
      if (this.isEmpty) this.#onEmpty();
    }
  }

  #state(id: string, execId: string): containerd.task.v2.StateResponse.$Properties {
    const container = this.#container(id);
    const process = container.process(execId);
    const { exit, addresses } = process;
    return {
      id,
      bundle: container.bundle.path,
      pid: process.pid,
      status: container.status(process),
      stdin: addresses.stdin,
      stdout: addresses.stdout,
      stderr: addresses.stderr,
      terminal: addresses.terminal,
      exitStatus: exit?.status ?? 0,
      exitedAt: timestamp(exit?.at),
      execId,
    };
  }

  async #delete(id: string, execId: string): Promise<containerd.task.v2.DeleteResponse.$Properties> {
    const container = this.#container(id);
    const { pid, exit } = await container.delete(execId);
    if (execId === "" && this.containers.get(id) === container) this.containers.delete(id);
    if (this.isEmpty) this.#onEmpty();
    return { pid, exitStatus: exit?.status ?? 0, exitedAt: timestamp(exit?.at) };
  }

  async #pids(id: string): Promise<containerd.task.v2.PidsResponse.$Properties> {
    const processes = await this.#container(id).pids();
    return {
      processes: processes.map(({ pid, execId }) =>
        execId === ""
          ? { pid }
          : {
              pid,
              info: packAny(
                "containerd.runc.v1.ProcessDetails",
                containerd.runc.v1.ProcessDetails.encode({ execId }).finish(),
              ),
            },
      ),
    };
  }

  #exec(request: containerd.task.v2.ExecProcessRequest): void {
    const container = this.#container(request.id);
    const spec = processSpec(request.spec, request.terminal);
    const { terminal, stdin, stdout, stderr } = request;
    container.exec(request.execId, { terminal, stdin, stdout, stderr }, spec);
  }

  async #checkpoint(request: containerd.task.v2.CheckpointTaskRequest): Promise<void> {
    const container = this.#container(request.id);
    const options = checkpointOptions(request.options);
    await container.checkpoint((runc) => checkpoint(runc, container, request.path, options));
    this.#host.events.checkpointed(container.id, request.path);
  }

  async #update(request: containerd.task.v2.UpdateTaskRequest): Promise<void> {
    const container = this.#container(request.id);
    await container.update(jsonOf(request.resources, jsonTypes.linuxResources, "resources"));
  }

  async #stats(id: string): Promise<{ stats: Any }> {
    const container = this.#container(id);
    if (container.cgroup === undefined) throw notFound("cgroup does not exist");
    try {
      return { stats: await readStats(container.cgroup) };
    } catch (error) {
      if (error instanceof CgroupGoneError) throw notFound("cgroup does not exist");
      throw error;
    }
  }

  #shutdown(): void {
    this.#onActivity();
    if (this.isEmpty) this.#onShutdown();
  }

  /** The methods for the server. The same object serves version 2 and 3 of the service (TT-7). */
  methods(): Service {
    const done = async (work: Promise<unknown> | undefined) => {
      await work;
      return nothing;
    };
    return {
      State: unary(task.StateRequest, task.StateResponse, (r) => this.#state(r.id, r.execId)),
      Create: unary(task.CreateTaskRequest, task.CreateTaskResponse, (r, ctx) => this.#create(r, ctx.signal)),
      Start: unary(task.StartRequest, task.StartResponse, async (r, ctx) => ({
        pid: await this.#container(r.id).start(r.execId, ctx.signal),
      })),
      Delete: unary(task.DeleteRequest, task.DeleteResponse, (r) => this.#delete(r.id, r.execId)),
      Pids: unary(task.PidsRequest, task.PidsResponse, (r) => this.#pids(r.id)),
      Pause: unary(task.PauseRequest, Empty, (r) => done(this.#container(r.id).pause())),
      Resume: unary(task.ResumeRequest, Empty, (r) => done(this.#container(r.id).resume())),
      Checkpoint: unary(task.CheckpointTaskRequest, Empty, (r) => done(this.#checkpoint(r))),
      Kill: unary(task.KillRequest, Empty, (r) => done(this.#container(r.id).kill(r.execId, r.signal, r.all))),
      Exec: unary(task.ExecProcessRequest, Empty, (r) => {
        this.#exec(r);
        return nothing;
      }),
      ResizePty: unary(task.ResizePtyRequest, Empty, (r) => {
        this.#container(r.id).resize(r.execId, r.width, r.height);
        return nothing;
      }),
      CloseIO: unary(task.CloseIORequest, Empty, (r) => {
        const process = this.#container(r.id).process(r.execId);
        if (r.stdin) process.closeStdin();
        return nothing;
      }),
      Update: unary(task.UpdateTaskRequest, Empty, (r) => done(this.#update(r))),
      Wait: unary(task.WaitRequest, task.WaitResponse, async (r, ctx) => {
        const exit = await this.#container(r.id).process(r.execId).wait(ctx.signal);
        return { exitStatus: exit.status, exitedAt: timestamp(exit.at) };
      }),
      Stats: unary(task.StatsRequest, task.StatsResponse, (r) => this.#stats(r.id)),
      Connect: unary(task.ConnectRequest, task.ConnectResponse, (r) => {
        this.#onActivity();
        return { shimPid: process.pid, taskPid: this.containers.get(r.id)?.init.pid ?? 0, version: "v2" };
      }),
      Shutdown: unary(task.ShutdownRequest, Empty, () => {
        this.#shutdown();
        return nothing;
      }),
    };
  }
}

const decoder = new TextDecoder("utf-8", { fatal: true });
const encoder = new TextEncoder();

/** The JSON object in an Any. @throws ContainerdError InvalidArgument */
function jsonObject(any: Any | null | undefined, type: string, what: string): Record<string, unknown> {
  if (any === null || any === undefined) throw invalidArgument(`no ${what} was given`);
  if (typeName(any) !== type) {
    throw invalidArgument(`${what} of type ${JSON.stringify(any.type_url ?? "")}: expected ${type}`);
  }
  try {
    const value: unknown = JSON.parse(decoder.decode(any.value ?? new Uint8Array()));
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch (error) {
    throw invalidArgument(`${what}: ${messageOf(error)}`);
  }
  throw invalidArgument(`${what}: not a JSON object`);
}

function jsonOf(any: Any | null | undefined, type: string, what: string): Uint8Array {
  return encoder.encode(JSON.stringify(jsonObject(any, type, what)));
}

/** The spec of an exec's process for runc; the request's terminal wins over the spec's (T-EXE-1). */
function processSpec(any: Any | null | undefined, terminal: boolean): Uint8Array {
  const spec = jsonObject(any, jsonTypes.process, "process spec");
  return encoder.encode(JSON.stringify({ ...spec, terminal }));
}

/** @throws ContainerdError InvalidArgument */
function checkpointOptions(any: Any | null | undefined): containerd.runc.v1.CheckpointOptions.$Properties {
  if (any === null || any === undefined || (any.type_url ?? "") === "") return {};
  if (typeName(any) !== "containerd.runc.v1.CheckpointOptions") {
    throw invalidArgument(`checkpoint options of type ${JSON.stringify(any.type_url)} are not known`);
  }
  try {
    return containerd.runc.v1.CheckpointOptions.decode(any.value ?? new Uint8Array());
  } catch (error) {
    throw invalidArgument(`checkpoint options: ${messageOf(error)}`);
  }
}
