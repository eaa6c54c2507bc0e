/** Starting and stopping a container without a client, as containerd's restart monitor does it (plugins/restart). */

import { messageOf } from "../../proto/errdefs.ts";
import type { containerd } from "../../proto/gen/supervisor.js";
import type { TaskManager } from "../task/manager.ts";
import type { Sandboxes } from "../task/sandbox.ts";
import type { NewTask, Task } from "../task/task.ts";
import { restartLabels } from "./policy.ts";
import { endTask, stopOf } from "./stop.ts";

/** A container's record. */
export type ContainerRecord = ReturnType<typeof containerd.services.containers.v1.Container.decode>;

/** What starting needs of other rooms. */
export interface StartOptions {
  readonly tasks: Pick<TaskManager, "create" | "delete" | "find" | "get">;
  readonly snapshots: {
    mounts(namespace: string, snapshotter: string, key: string): Promise<readonly Mount[]>;
  };
  /** Where shims of sandboxes are. */
  readonly sandboxes: Pick<Sandboxes, "serving">;
  /** Makes what of the files that a spec mounts is missing. */
  readonly restoreFiles: (namespace: string, id: string, spec: Uint8Array | undefined) => void;
  /** Options that are configured for a runtime, for containers that have none. */
  readonly configuredOptions: (runtime: string) => NewTask["options"];
}

interface Mount {
  readonly type: string;
  readonly source: string;
  readonly target?: string;
  readonly options: readonly string[];
}

/** Ends the task of a container, if it has one, as its labels ask, and deletes it. @throws ContainerdError */
export async function stopContainer(
  namespace: string,
  { id, labels }: Pick<ContainerRecord, "id" | "labels">,
  { tasks }: Pick<StartOptions, "tasks">,
): Promise<void> {
  const task = tasks.find(namespace, id);
  if (task === undefined) return;
  await endTask(task, stopOf(labels));
  await tasks.delete(task);
}

/**
 * Makes a new task for a container and starts it; what there was of a task ends first.
 * @throws ContainerdError; then there is no task
 */
export async function startContainer(
  namespace: string,
  container: ContainerRecord,
  options: StartOptions,
): Promise<void> {
  const { tasks, snapshots, sandboxes } = options;
  const { id, snapshotter, snapshotKey, sandbox } = container;
  const runtime = container.runtime?.name ?? "";
  await stopContainer(namespace, container, options);
  options.restoreFiles(namespace, id, container.spec?.value ?? undefined);
  const rootfs = snapshotKey === "" ? [] : await snapshots.mounts(namespace, snapshotter, snapshotKey);
  await tasks.create(namespace, id, {
    spec: container.spec?.value ?? undefined,
    runtime,
    options: container.runtime?.options ?? options.configuredOptions(runtime),
    rootfs: rootfs.map(({ type, source, target = "", options: flags }) => ({
      type,
      source,
      target,
      options: [...flags],
    })),
    checkpoint: "",
    sandbox: sandboxes.serving(namespace, sandbox),
    ...stdioOf(container),
  });
  const task = await tasks.get(namespace, id);
  try {
    await task.start("");
  } catch (error) {
    await remove(tasks, task);
    throw error;
  }
}

async function remove(tasks: StartOptions["tasks"], task: Task): Promise<void> {
  try {
    await tasks.delete(task);
  } catch (error) {
    throw new Error(`the task could be neither started nor deleted: ${messageOf(error)}`);
  }
}

/** Where output goes: to the URI of the label, or nowhere. A terminal needs somebody to write to. */
function stdioOf({ labels, spec }: ContainerRecord): Pick<NewTask, "stdin" | "stdout" | "stderr" | "terminal"> {
  const uri = labels[restartLabels.logUri] ?? "";
  return { stdin: "", stdout: uri, stderr: uri, terminal: uri !== "" && hasTerminal(spec?.value ?? undefined) };
}

function hasTerminal(spec: Uint8Array | undefined): boolean {
  if (spec === undefined) return false;
  try {
    const { process } = JSON.parse(new TextDecoder().decode(spec)) as { process?: { terminal?: unknown } };
    return process?.terminal === true;
  } catch {
    return false;
  }
}
