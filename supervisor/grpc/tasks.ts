/** The Tasks service (plugins/services/tasks/local.go): decodes, calls the task room, encodes. */

import { ContainerdError, invalidArgument, messageOf, unknown } from "../../proto/errdefs.ts";
import { containerd } from "../../proto/gen/supervisor.js";
import { Code } from "../../proto/ttrpc/status.ts";
import { now } from "../event/exchange.ts";
import type { Log } from "../log/log.ts";
import { type Filter, fieldsOf, parseFilters } from "../store/filter.ts";
import { validateIdentifier } from "../store/identifier.ts";
import type { Checkpoints } from "../task/checkpoint.ts";
import { type Exit, timeOr } from "../task/exit.ts";
import type { Any } from "../task/launch.ts";
import type { TaskManager } from "../task/manager.ts";
import { createOptions } from "../task/options.ts";
import type { Sandboxes } from "../task/sandbox.ts";
import { isNotFound, type State, type Task } from "../task/task.ts";
import type { CallContext } from "./context.ts";
import type { Handlers } from "./server.ts";

const { Status } = containerd.v1.types;
const nothing = {};

/** The part of a container's record that tasks need. */
export type ContainerRecord = ReturnType<typeof containerd.services.containers.v1.Container.decode>;

/** What the service works with. */
export interface TasksOptions {
  readonly tasks: TaskManager;
  readonly checkpoints: Checkpoints;
  /** Where shims of sandboxes are. */
  readonly sandboxes: Pick<Sandboxes, "serving">;
  /** Throws NotFound for a container that there is no record of. */
  readonly containers: { get(namespace: string, id: string): ContainerRecord };
  /** Resolves when a snapshot survives a power cut: no task is told to be made before. */
  readonly settled: (namespace: string, snapshotter: string, key: string) => Promise<void>;
  /** Options that are configured for a runtime, for clients that give none. */
  readonly configuredOptions?: (runtime: string) => Any | undefined;
  readonly log: Log;
}

export function tasksService(options: TasksOptions): Handlers<"containerd.services.tasks.v1.Tasks"> {
  const { tasks, checkpoints, containers, log } = options;
  /** What unpacked checkpoints have left to be removed, by task: they are read when it starts. */
  const unpacked = new Map<string, () => Promise<void>>();
  const discard = async (namespace: string, id: string): Promise<void> => {
    const key = `${namespace}/${id}`;
    const remove = unpacked.get(key);
    unpacked.delete(key);
    await remove?.();
  };
  const deleteTask = async (task: Task): Promise<Exit> => {
    const exit = await tasks.delete(task);
    await discard(task.namespace, task.id);
    return exit;
  };
  const taskOf = (context: CallContext, containerId: string): Promise<Task> => {
    const { namespace } = context;
    containers.get(namespace, containerId);
    return tasks.get(namespace, containerId);
  };
  return {
    async Create(request, context) {
      const { namespace } = context;
      const { containerId, stdin, stdout, stderr, terminal, rootfs } = request;
      const container = containers.get(namespace, containerId);
      await options.settled(namespace, container.snapshotter, container.snapshotKey);
      const given = request.options ?? undefined;
      const runtime = container.runtime?.name ?? "";
      const known = createOptions(runtime, given);
      const checkpoint = await checkpoints.restorePath(
        namespace,
        known?.criuImagePath ?? "",
        request.checkpoint ?? undefined,
      );
      try {
        const wanted = {
          spec: container.spec?.value ?? undefined,
          runtime: request.runtimePath || runtime,
          options: given?.value?.length ? given : (container.runtime?.options ?? options.configuredOptions?.(runtime)),
          stdin,
          stdout,
          stderr,
          terminal,
          rootfs,
          checkpoint: checkpoint.path,
          sandbox: sandboxOf(options, namespace, container.sandbox, known),
        };
        const pid = await tasks.create(namespace, containerId, wanted, context.signal);
        if (checkpoint.path !== "") unpacked.set(`${namespace}/${containerId}`, checkpoint.discard);
        return { containerId, pid };
      } catch (error) {
        await checkpoint.discard();
        throw error;
      }
    },
    async Start({ containerId, execId }, context) {
      const pid = await (await taskOf(context, containerId)).start(execId);
      if (execId === "") await discard(context.namespace, containerId);
      return { pid };
    },
    async Delete({ containerId }, context) {
      return deleted("", await deleteTask(await taskOf(context, containerId)));
    },
    async DeleteProcess({ containerId, execId }, context) {
      const task = await taskOf(context, containerId);
      // Without an exec's id it is init that is meant, and with it the whole task.
      return deleted(execId, await (execId === "" ? deleteTask(task) : task.deleteExec(execId)));
    },
    async Get({ containerId, execId }, context) {
      const task = await taskOf(context, containerId);
      return { process: processOf(execId || task.id, await stateOf(task, execId, log)) };
    },
    async List(_request, context) {
      const all = await tasks.list(context.namespace);
      const found = await Promise.all(all.map((task) => listed(task, log)));
      return { tasks: found.filter((process) => process !== undefined) };
    },
    async Kill({ containerId, execId, signal, all }, context) {
      await (await taskOf(context, containerId)).kill(execId, signal, all);
      return nothing;
    },
    async Exec({ containerId, execId, stdin, stdout, stderr, terminal, spec }, context) {
      if (execId === "") throw invalidArgument("exec id cannot be empty");
      const task = await taskOf(context, containerId);
      validateIdentifier(execId, `invalid exec id ${execId}: `);
      await task.exec(execId, { stdin, stdout, stderr, terminal }, spec ?? undefined);
      return nothing;
    },
    async ResizePty({ containerId, execId, width, height }, context) {
      await (await taskOf(context, containerId)).resize(execId, width, height);
      return nothing;
    },
    async CloseIO({ containerId, execId, stdin }, context) {
      const task = await taskOf(context, containerId);
      if (stdin) await task.closeStdin(execId);
      else if (execId !== "") await task.state(execId);
      return nothing;
    },
    async Pause({ containerId }, context) {
      await (await taskOf(context, containerId)).pause();
      return nothing;
    },
    async Resume({ containerId }, context) {
      await (await taskOf(context, containerId)).resume();
      return nothing;
    },
    async ListPids({ containerId }, context) {
      return { processes: [...(await (await taskOf(context, containerId)).pids())] };
    },
    async Checkpoint({ containerId, options: given }, context) {
      const container = containers.get(context.namespace, containerId);
      const task = await taskOf(context, containerId);
      return { descriptors: await checkpoints.checkpoint(task, container, given ?? undefined, context.lease) };
    },
    async Update({ containerId, resources, annotations }, context) {
      await (await taskOf(context, containerId)).update(resources ?? undefined, annotations);
      return nothing;
    },
    async Metrics({ filters }, context) {
      const filter = parse(filters);
      const all = await tasks.list(context.namespace);
      const chosen = all.filter(({ id, namespace }) => filter(fieldsOf({ id, namespace })));
      const found = await Promise.all(chosen.map((task) => metricOf(task, log)));
      return { metrics: found.filter((metric) => metric !== undefined) };
    },
    async Wait({ containerId, execId }, context) {
      const task = await taskOf(context, containerId);
      const { status, at } = await unlessGone(task.wait(execId), context);
      return { exitStatus: status, exitedAt: timeOr(at) };
    },
  };
}

/** The sandbox whose shim is to serve a container; undefined for a container that has a shim of its own. */
function sandboxOf(
  { sandboxes }: TasksOptions,
  namespace: string,
  id: string,
  known: { readonly taskApiAddress: string; readonly taskApiVersion: number } | undefined,
) {
  if (id === "") return undefined;
  const given = known?.taskApiAddress ?? "";
  if (given === "") return sandboxes.serving(namespace, id);
  const [, protocol, address] = /^([^+]+)\+(.*)$/.exec(given) ?? [];
  if (protocol === undefined || address === undefined) {
    const why =
      "the scheme of sandbox address should be in  the form of <protocol>+<unix|vsock|tcp>, i.e. ttrpc+unix or grpc+vsock";
    throw unknown(`failed to start shim: ${why}`);
  }
  return { id, endpoint: { protocol, address, version: known?.taskApiVersion || 2 } };
}

function deleted(id: string, { pid, status, at }: Exit) {
  return { id, pid, exitStatus: status, exitedAt: timeOr(at) };
}

/** The state of a process; that of one that does not answer in time is unknown, which is no error to containerd. */
async function stateOf(task: Task, execId: string, log: Log): Promise<State | undefined> {
  try {
    return await task.state(execId);
  } catch (error) {
    if (isNotFound(error) || (error instanceof ContainerdError && error.code === Code.Unavailable)) throw error;
    log.error(`get state for ${execId || task.id}: ${messageOf(error)}`, { namespace: task.namespace });
    return undefined;
  }
}

function processOf(id: string, state: State | undefined) {
  if (state === undefined) return { id, status: Status.UNKNOWN, exitedAt: timeOr(undefined) };
  const { pid, status, stdin, stdout, stderr, terminal, exitStatus, exitedAt } = state;
  return { id, pid, status, stdin, stdout, stderr, terminal, exitStatus, exitedAt: timeOr(exitedAt) };
}

async function listed(task: Task, log: Log) {
  try {
    return processOf(task.id, await stateOf(task, "", log));
  } catch {
    // Deleted meanwhile.
    return undefined;
  }
}

async function metricOf(task: Task, log: Log) {
  const timestamp = now();
  try {
    const data = await task.stats();
    return data === undefined ? { timestamp, id: task.id } : { timestamp, id: task.id, data };
  } catch (error) {
    if (!isNotFound(error)) log.error(`collecting metrics for ${task.id}: ${messageOf(error)}`);
    return undefined;
  }
}

/** containerd does not tell here that filters are the caller's mistake. */
function parse(filters: readonly string[]): Filter {
  try {
    return parseFilters(filters);
  } catch (error) {
    throw unknown(messageOf(error).replace(/(: invalid argument)\1$/, "$1"), error);
  }
}

/** The value, unless the caller goes first. */
function unlessGone<T>(value: Promise<T>, { signal }: CallContext): Promise<T> {
  return new Promise((resolve, reject) => {
    const leave = (): void => reject(new ContainerdError(Code.Canceled, "context canceled"));
    signal.addEventListener("abort", leave, { once: true });
    if (signal.aborted) leave();
    value.then(resolve, reject).finally(() => signal.removeEventListener("abort", leave));
  });
}
