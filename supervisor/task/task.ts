/**
 * A task: a running shim with the container that it runs. The shim is the truth; what is kept here is how to reach it,
 * and what of its end has been told.
 */

import { ContainerdError, notFound } from "../../proto/errdefs.ts";
import type { containerd } from "../../proto/gen/supervisor.js";
import { Code } from "../../proto/ttrpc/status.ts";
import type { Bundle } from "./bundle.ts";
import type { Endpoint } from "./endpoint.ts";
import type { Exit } from "./exit.ts";
import type { Any } from "./launch.ts";
import type { Program } from "./program.ts";
import { type Shim, ShimClosedError } from "./shim.ts";

/** Paths of FIFOs or log URIs. */
export interface Stdio {
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
}

type Mount = containerd.types.Mount.$Properties;
/** What a new task is to be. */
export interface NewTask extends Stdio {
  /** JSON of the runtime specification. */
  readonly spec: Uint8Array | undefined;
  /** Name or path of the runtime. */
  readonly runtime: string;
  readonly options: Any | undefined;
  readonly rootfs: readonly Mount[];
  /** Directory of a checkpoint's images; empty for none. */
  readonly checkpoint: string;
  /** The sandbox that the container is in, and where its shim is; undefined for none. */
  readonly sandbox: { readonly id: string; readonly endpoint: Endpoint } | undefined;
}

/** The state of a process, as the shim tells it. */
export type State = ReturnType<typeof containerd.task.v2.StateResponse.decode>;

/** What a task is made of. */
export interface TaskParts {
  readonly bundle: Bundle;
  readonly program: Program;
  readonly shim: Shim;
  /** The sandbox whose shim this is; empty for a shim of its own. */
  readonly sandbox: string;
  /** Stops reading the shim's log. */
  readonly stopLog: () => void;
}

/** One task. Processes are named by their exec ids; "" is init. */
export class Task {
  readonly bundle: Bundle;
  readonly program: Program;
  readonly shim: Shim;
  readonly sandbox: string;
  readonly stopLog: () => void;
  /** Resolves after the shim's end, when all is cleaned up, with how init ended. Never rejects. */
  readonly buried = Promise.withResolvers<Exit>();
  /** The exit of init that was told. */
  exit: Exit | undefined;
  /** A Delete under way. */
  deleting: Promise<Exit> | undefined;
  /** An earlier daemon has started it. */
  isFound = false;
  /** The shim's end is expected, and nobody must be told. */
  isReleased = false;
  /** Waits under way, by exec id. */
  readonly #waits = new Map<string, { readonly answer: Promise<Exit>; settle(exit: Exit): void }>();

  constructor(parts: TaskParts) {
    this.bundle = parts.bundle;
    this.program = parts.program;
    this.shim = parts.shim;
    this.sandbox = parts.sandbox;
    this.stopLog = parts.stopLog;
  }

  get id(): string {
    return this.bundle.id;
  }

  get namespace(): string {
    return this.bundle.namespace;
  }

  /** @returns the pid of init */
  async create(
    request: Stdio & {
      readonly rootfs: readonly Mount[];
      readonly checkpoint: string;
      readonly options: Any | undefined;
    },
  ): Promise<number> {
    const { options, rootfs, ...rest } = request;
    const { pid } = await this.shim.call("Create", {
      id: this.id,
      bundle: this.bundle.path,
      rootfs: [...rootfs],
      ...rest,
      ...(options === undefined ? {} : { options }),
    });
    return pid || (await this.shim.call("Connect", { id: this.id })).taskPid;
  }

  /** @returns the pid @throws ContainerdError */
  async start(execId: string): Promise<number> {
    const { pid } = await this.shim.call("Start", { id: this.id, execId });
    return pid || (await this.state(execId)).pid;
  }

  /** @throws ContainerdError NotFound also for a shim that is gone */
  async state(execId: string): Promise<State> {
    try {
      return await this.shim.call("State", { id: this.id, execId });
    } catch (error) {
      throw error instanceof ShimClosedError ? notFound("not found") : error;
    }
  }

  async kill(execId: string, signal: number, all: boolean): Promise<void> {
    await this.shim.call("Kill", { id: this.id, execId, signal, all: all && execId === "" });
  }

  async exec(execId: string, stdio: Stdio, spec: Any | undefined): Promise<void> {
    const { stdin, stdout, stderr, terminal } = stdio;
    const request = { id: this.id, execId, stdin, stdout, stderr, terminal };
    await this.shim.call("Exec", spec === undefined ? request : { ...request, spec });
  }

  /** Deletes an exec; for the task itself see the manager. */
  async deleteExec(execId: string): Promise<Exit> {
    const { pid, exitStatus, exitedAt } = await this.shim.call("Delete", { id: this.id, execId });
    const exit = { pid, status: exitStatus, at: exitedAt ?? undefined };
    this.deleted(execId, exit);
    return exit;
  }

  async resize(execId: string, width: number, height: number): Promise<void> {
    await this.shim.call("ResizePty", { id: this.id, execId, width, height });
  }

  async closeStdin(execId: string): Promise<void> {
    await this.shim.call("CloseIO", { id: this.id, execId, stdin: true });
  }

  async pause(): Promise<void> {
    await this.shim.call("Pause", { id: this.id });
  }

  async resume(): Promise<void> {
    await this.shim.call("Resume", { id: this.id });
  }

  async pids(): Promise<readonly containerd.v1.types.ProcessInfo.$Properties[]> {
    return (await this.shim.call("Pids", { id: this.id })).processes;
  }

  /** @param path directory for the images */
  async checkpoint(path: string, options: Any | undefined): Promise<void> {
    await this.shim.call("Checkpoint", options === undefined ? { id: this.id, path } : { id: this.id, path, options });
  }

  async update(resources: Any | undefined, annotations: Readonly<Record<string, string>>): Promise<void> {
    const request = { id: this.id, annotations: { ...annotations } };
    await this.shim.call("Update", resources === undefined ? request : { ...request, resources });
  }

  /** Figures of the container's cgroup; undefined when the shim has none. */
  async stats(signal?: AbortSignal): Promise<Any | undefined> {
    return (await this.shim.call("Stats", { id: this.id }, signal)).stats ?? undefined;
  }

  /**
   * Waits for the end of a process. When the shim dies meanwhile, init's end is what its clean-up has found. All who wait
   * for one process share a call: a shim is not told when somebody gives up.
   */
  wait(execId: string): Promise<Exit> {
    const under = this.#waits.get(execId);
    if (under !== undefined) return under.answer;
    const { promise: answer, resolve, reject } = Promise.withResolvers<Exit>();
    const controller = new AbortController();
    const settle = (exit: Exit): void => {
      resolve(exit);
      controller.abort();
    };
    const wait = { answer, settle };
    this.#waits.set(execId, wait);
    void this.#wait(execId, controller.signal)
      .then(resolve, reject)
      .finally(() => {
        if (this.#waits.get(execId) === wait) this.#waits.delete(execId);
      });
    return answer;
  }

  /**
   * A process was deleted: who still waits for it is answered. Shims forget them when the process never ran, and a process
   * of the same name may come.
   */
  deleted(execId: string, exit: Exit): void {
    this.#waits.get(execId)?.settle(exit);
    this.#waits.delete(execId);
  }

  async #wait(execId: string, signal: AbortSignal): Promise<Exit> {
    try {
      const { exitStatus, exitedAt } = await this.shim.call("Wait", { id: this.id, execId }, signal);
      return { pid: 0, status: exitStatus, at: exitedAt ?? undefined };
    } catch (error) {
      if (!(error instanceof ShimClosedError) || execId !== "") throw error;
      return await this.buried.promise;
    }
  }
}

/** True for the answer of a shim that does not know the container. */
export function isNotFound(error: unknown): boolean {
  return error instanceof ContainerdError && error.code === Code.NotFound;
}
