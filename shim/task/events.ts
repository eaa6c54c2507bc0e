/** The events of a shim as messages (contract 1.9). */

import { containerd } from "../../proto/gen/shim.js";
import type { Topic } from "../../proto/topics.ts";
import type { CreateRequest } from "../container/container.ts";
import type { Exit } from "../linux/reaper.ts";
import { timestamp } from "./timestamp.ts";

const messages = containerd.events;

/** Encodes events and passes them on. The order of calls is the order of events. */
export class Events {
  readonly #publish: (topic: Topic, value: Uint8Array) => void;

  constructor(publish: (topic: Topic, value: Uint8Array) => void) {
    this.#publish = publish;
  }

  create(request: CreateRequest, pid: number): void {
    const { id, bundle, rootfs, stdin, stdout, stderr, terminal, checkpoint } = request;
    const message = {
      containerId: id,
      bundle,
      rootfs: rootfs.map((mount) => ({ ...mount, options: [...mount.options] })),
      io: { stdin, stdout, stderr, terminal },
      checkpoint,
      pid,
    };
    this.#publish("/tasks/create", messages.TaskCreate.encode(message).finish());
  }

  start(containerId: string, pid: number): void {
    this.#publish("/tasks/start", messages.TaskStart.encode({ containerId, pid }).finish());
  }

  /** @param id the container's own id for init, else the exec's */
  exit(containerId: string, id: string, pid: number, exit: Exit): void {
    const message = { containerId, id, pid, exitStatus: exit.status, exitedAt: timestamp(exit.at) };
    this.#publish("/tasks/exit", messages.TaskExit.encode(message).finish());
  }

  delete(containerId: string, pid: number, exit: Exit | undefined): void {
    const end = exit === undefined ? {} : { exitStatus: exit.status, exitedAt: timestamp(exit.at) };
    this.#publish("/tasks/delete", messages.TaskDelete.encode({ containerId, pid, ...end }).finish());
  }

  oom(containerId: string): void {
    this.#publish("/tasks/oom", messages.TaskOOM.encode({ containerId }).finish());
  }

  execAdded(containerId: string, execId: string): void {
    this.#publish("/tasks/exec-added", messages.TaskExecAdded.encode({ containerId, execId }).finish());
  }

  execStarted(containerId: string, execId: string, pid: number): void {
    this.#publish("/tasks/exec-started", messages.TaskExecStarted.encode({ containerId, execId, pid }).finish());
  }

  paused(containerId: string): void {
    this.#publish("/tasks/paused", messages.TaskPaused.encode({ containerId }).finish());
  }

  resumed(containerId: string): void {
    this.#publish("/tasks/resumed", messages.TaskResumed.encode({ containerId }).finish());
  }

  checkpointed(containerId: string, checkpoint: string): void {
    this.#publish("/tasks/checkpointed", messages.TaskCheckpointed.encode({ containerId, checkpoint }).finish());
  }
}
