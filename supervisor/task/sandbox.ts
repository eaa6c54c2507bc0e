/**
 * Sandboxes that shims run (plugins/sandbox/controller.go): a shim of its own for each, which answers the Sandbox service
 * beside Task, and serves the containers of the sandbox too.
 */

import { deadlines } from "../../proto/deadlines.ts";
import { alreadyExists, ContainerdError, messageOf, notFound, unknown } from "../../proto/errdefs.ts";
import { containerd } from "../../proto/gen/supervisor.js";
import { Code } from "../../proto/ttrpc/status.ts";
import type { Log } from "../log/log.ts";
import { Bundle, type BundleRoots } from "./bundle.ts";
import { bury } from "./burial.ts";
import { type Endpoint, qualifiedAddress } from "./endpoint.ts";
import type { Any, Caller } from "./launch.ts";
import { findBundles, inspect, sweep } from "./load.ts";
import { fieldsOf, openFound, openNew, prefixed } from "./open.ts";
import type { Programs } from "./program.ts";
import { ShimClosedError } from "./shim.ts";
import type { Task } from "./task.ts";

const api = containerd.runtime.sandbox.v1;
const service = "containerd.runtime.sandbox.v1.Sandbox";

/** Methods of a shim's Sandbox service: their messages, and how long an answer may take; 0 for ever. */
const methods = {
  CreateSandbox: [api.CreateSandboxRequest, api.CreateSandboxResponse, deadlines.taskStart],
  StartSandbox: [api.StartSandboxRequest, api.StartSandboxResponse, deadlines.taskStart],
  Platform: [api.PlatformRequest, api.PlatformResponse, deadlines.taskCall],
  StopSandbox: [api.StopSandboxRequest, api.StopSandboxResponse, deadlines.taskStart],
  WaitSandbox: [api.WaitSandboxRequest, api.WaitSandboxResponse, 0],
  SandboxStatus: [api.SandboxStatusRequest, api.SandboxStatusResponse, deadlines.taskCall],
  ShutdownSandbox: [api.ShutdownSandboxRequest, api.ShutdownSandboxResponse, deadlines.taskCall],
  SandboxMetrics: [api.SandboxMetricsRequest, api.SandboxMetricsResponse, deadlines.taskCall],
} as const;

type Methods = typeof methods;
type Encoder<T> = { encode(message: T): { finish(): Uint8Array } };
type Decoder<T> = { decode(bytes: Uint8Array): T };
type Request<M extends keyof Methods> = Methods[M][0] extends { encode(message: infer Q): unknown } ? Q : never;
type Response<M extends keyof Methods> = Methods[M][1] extends Decoder<infer R> ? R : never;

/** What a new sandbox is to be. */
export interface NewSandbox {
  readonly runtime: string;
  readonly runtimeOptions: Any | undefined;
  /** JSON of a runtime specification, if there is one. */
  readonly spec: Uint8Array | undefined;
  readonly rootfs: containerd.types.Mount.$Properties[];
  readonly options: Any | undefined;
  readonly netnsPath: string;
  readonly annotations: Record<string, string>;
}

/** What sandboxes are run with. */
export interface SandboxesOptions {
  readonly roots: BundleRoots;
  readonly caller: Caller;
  readonly programs: Programs;
  readonly log: Log;
}

/** The sandboxes of one daemon. */
export class Sandboxes {
  readonly #options: SandboxesOptions;
  readonly #shims = new Map<string, Task>();
  readonly #creating = new Set<string>();
  /** Those whose shims were told to end them; `shut down` where a shim has said that nothing of the sandbox is left. */
  readonly #ending = new WeakMap<Task, "told" | "shut down">();
  #loaded: Promise<unknown> = Promise.resolve();
  #isStopping = false;

  constructor(options: SandboxesOptions) {
    this.#options = options;
  }

  /** Begins to look at what an earlier daemon has left. */
  load(): void {
    const { roots, log } = this.#options;
    const all = findBundles(roots).map(([namespace, id]) => {
      const bundle = new Bundle(roots, namespace, id);
      return this.#load(bundle).catch((error: unknown) =>
        log.error(`loading sandbox: ${messageOf(error)}`, fieldsOf(bundle)),
      );
    });
    this.#loaded = Promise.all(all)
      .then(() =>
        sweep(roots, async (namespace, id, remove) => {
          if (!this.#shims.has(keyOf(namespace, id))) await remove();
        }),
      )
      .catch((error: unknown) => log.error(`sweeping sandboxes: ${messageOf(error)}`));
  }

  async #load(bundle: Bundle): Promise<void> {
    const { programs, caller, log } = this.#options;
    const program = await inspect(bundle, undefined, programs);
    if (program === "empty" || program === "forgotten") {
      await bundle.remove();
      return;
    }
    try {
      this.#add(await openFound({ bundle, program, caller, log }));
    } catch (error) {
      log.warn(`sandbox is gone: ${messageOf(error)}`, fieldsOf(bundle));
      await bury({ bundle, program, sandbox: "" }, this.#options);
    }
  }

  /**
   * @param signal aborted when the caller has gone: then nothing is left
   * @throws ContainerdError AlreadyExists; else what went wrong, and then nothing is left either
   */
  async create(namespace: string, id: string, wanted: NewSandbox, signal?: AbortSignal): Promise<void> {
    const { programs, caller, log, roots } = this.#options;
    const key = keyOf(namespace, id);
    await this.#loaded;
    if (this.#shims.has(key) || this.#creating.has(key)) {
      throw alreadyExists(`sandbox ${id} already running: already exists`);
    }
    this.#creating.add(key);
    const bundle = new Bundle(roots, namespace, id);
    try {
      const program = programs.resolve(wanted.runtime);
      await bundle.create(wanted.spec);
      const task = await openNew({ bundle, program, caller, log }, wanted.runtimeOptions).catch(
        async (error: unknown) => {
          await bundle.remove();
          throw prefixed(`failed to start new shim for sandbox ${id}`, error);
        },
      );
      this.#add(task);
      const { rootfs, options, netnsPath, annotations } = wanted;
      const request = { sandboxId: id, bundlePath: bundle.path, rootfs, netnsPath, annotations };
      await this.#call(task, "CreateSandbox", options === undefined ? request : { ...request, options }).catch(
        async (error: unknown) => {
          await this.#end(task);
          throw prefixed(`failed to create sandbox ${id}`, error);
        },
      );
      if (signal?.aborted) {
        await this.#end(task);
        throw new ContainerdError(Code.Canceled, "context canceled");
      }
    } finally {
      this.#creating.delete(key);
    }
  }

  /** @throws ContainerdError Unknown for a sandbox that is not there */
  async start(namespace: string, id: string) {
    await this.#loaded;
    const task = this.#find(namespace, id);
    if (task === undefined) throw unknown(`unable to find sandbox ${JSON.stringify(id)}`);
    const started = await this.#call(task, "StartSandbox", { sandboxId: id }).catch(async (error: unknown) => {
      await this.#end(task);
      throw prefixed(`failed to start sandbox ${id}`, error);
    });
    return { ...placeOf(task), pid: started.pid, createdAt: started.createdAt, spec: started.spec };
  }

  async platform(namespace: string, id: string) {
    const task = await this.#get(namespace, id);
    return this.#call(task, "Platform", { sandboxId: id }, "failed to get sandbox platform");
  }

  /** @returns false when there is no such sandbox, which is as good as stopped */
  async stop(namespace: string, id: string, timeoutSecs: number): Promise<boolean> {
    await this.#loaded;
    const task = this.#find(namespace, id);
    if (task === undefined) return false;
    await this.#tellToEnd(task, "StopSandbox", { sandboxId: id, timeoutSecs }, "failed to stop sandbox");
    return true;
  }

  /** @param signal ends the waiting */
  async wait(namespace: string, id: string, signal: AbortSignal) {
    const task = await this.#get(namespace, id);
    return this.#call(task, "WaitSandbox", { sandboxId: id }, `failed to wait sandbox ${id}`, signal);
  }

  /** @returns undefined when there is no such sandbox: it has ended */
  async status(namespace: string, id: string, verbose: boolean) {
    await this.#loaded;
    const task = this.#find(namespace, id);
    if (task === undefined) return undefined;
    try {
      return { status: await this.#call(task, "SandboxStatus", { sandboxId: id, verbose }), ...placeOf(task) };
    } catch (error) {
      if (error instanceof ShimClosedError) return undefined;
      throw prefixed(`failed to query sandbox ${id} status`, error);
    }
  }

  async shutdown(namespace: string, id: string): Promise<void> {
    const task = await this.#get(namespace, id);
    await this.#tellToEnd(task, "ShutdownSandbox", { sandboxId: id }, "failed to shutdown sandbox");
    await this.#close(task);
  }

  async metrics(namespace: string, id: string) {
    const task = await this.#get(namespace, id);
    return (await this.#call(task, "SandboxMetrics", { sandboxId: id })).metrics;
  }

  /**
   * The sandbox and where its shim is, when that serves the sandbox's containers too: from version 3 on (DL-7).
   * Undefined for others, and without such a sandbox: then containers have shims of their own, as containerd 2.1 gives
   * them.
   */
  serving(namespace: string, id: string): { readonly id: string; readonly endpoint: Endpoint } | undefined {
    const endpoint = this.#find(namespace, id)?.shim.endpoint;
    return endpoint !== undefined && endpoint.version >= 3 ? { id, endpoint } : undefined;
  }

  /** Lets go of all shims, which live on. */
  close(): void {
    this.#isStopping = true;
    for (const task of this.#shims.values()) {
      task.shim.close();
      task.stopLog();
    }
    this.#shims.clear();
  }

  async #get(namespace: string, id: string): Promise<Task> {
    await this.#loaded;
    const task = this.#find(namespace, id);
    if (task === undefined) throw notFound("not found");
    return task;
  }

  /** Undefined also for one that has ended, and is being cleaned up after. */
  #find(namespace: string, id: string): Task | undefined {
    const task = this.#shims.get(keyOf(namespace, id));
    return task?.isReleased ? undefined : task;
  }

  #add(task: Task): void {
    this.#shims.set(keyOf(task.namespace, task.id), task);
    void task.shim.closed.then(async () => {
      if (task.isReleased || this.#isStopping) return;
      this.#options.log.warn("cleaning up after sandbox's shim disconnected", fieldsOf(task));
      await this.#close(task);
    });
  }

  async #call<M extends keyof Methods>(
    task: Task,
    method: M,
    request: Request<M>,
    prefix?: string,
    signal?: AbortSignal,
  ): Promise<Response<M>> {
    const [codec, answer, timeoutMs] = methods[method];
    try {
      return await task.shim.callService(
        service,
        method,
        codec as Encoder<Request<M>>,
        answer as unknown as Decoder<Response<M>>,
        request,
        { ...(timeoutMs === 0 ? {} : { timeoutMs }), ...(signal === undefined ? {} : { signal }) },
      );
    } catch (error) {
      throw prefix === undefined ? error : prefixed(prefix, error);
    }
  }

  /** Tells a shim to end a sandbox. It may do that so fast that no answer comes, but the end of the connection. */
  async #tellToEnd<M extends "StopSandbox" | "ShutdownSandbox">(
    task: Task,
    method: M,
    request: Request<M>,
    prefix: string,
  ): Promise<void> {
    this.#ending.set(task, "told");
    try {
      await this.#call(task, method, request);
      if (method === "ShutdownSandbox") this.#ending.set(task, "shut down");
    } catch (error) {
      if (error instanceof ShimClosedError) return;
      this.#ending.delete(task);
      throw prefixed(prefix, error);
    }
  }

  /** Ends a sandbox that did not come up. */
  async #end(task: Task): Promise<void> {
    const prefix = "failed to shutdown sandbox";
    await this.#tellToEnd(task, "ShutdownSandbox", { sandboxId: task.id }, prefix).catch((error: unknown) =>
      this.#options.log.error(messageOf(error), fieldsOf(task)),
    );
    await this.#close(task);
  }

  /** Closes the connection, and cleans up. Never rejects. */
  async #close(task: Task): Promise<void> {
    const key = keyOf(task.namespace, task.id);
    task.isReleased = true;
    // A shim that has no sandboxes ends as a task's does.
    await task.shim.call("Shutdown", { id: task.id }).catch(() => undefined);
    task.shim.close();
    try {
      // containerd does not call `delete` then either (controller_local.go).
      if (this.#ending.get(task) !== "shut down") await bury(task, this.#options);
    } catch (error) {
      this.#options.log.error(`failed to delete shim: ${messageOf(error)}`, fieldsOf(task));
    }
    // What ended unbidden and could not be cleaned up is tried again by the next daemon; the rest has to go.
    if (this.#ending.has(task)) await this.#remove(task);
    task.stopLog();
    if (this.#shims.get(key) === task) this.#shims.delete(key);
  }

  async #remove(task: Task): Promise<void> {
    try {
      await task.bundle.remove();
    } catch (error) {
      this.#options.log.error(`failed to remove bundle: ${messageOf(error)}`, fieldsOf(task));
    }
  }
}

function placeOf(task: Task): { address: string; version: number } {
  const { endpoint } = task.shim;
  return { address: qualifiedAddress(endpoint), version: endpoint.version };
}

function keyOf(namespace: string, id: string): string {
  return `${namespace}/${id}`;
}
