/** The end of a container, told once: by its shim, or by the daemon in its place. */

import { containerd } from "../../proto/gen/supervisor.js";
import { type Envelope, type Exchange, now } from "../event/exchange.ts";
import type { Log } from "../log/log.ts";
import { type Exit, isSameTime, timeOr } from "./exit.ts";
import type { Task } from "./task.ts";

const { TaskExit, TaskDelete } = containerd.events;

/**
 * What an event of a shim is: `told` for the end of a container that was told already; `missed` for what those wait for
 * who were told of the container by an earlier daemon; `new` for all else.
 */
export type News = "new" | "missed" | "told";

/** What is noted of a task that events are about: one that is there, or one that is being taken over. */
export type Told = Pick<Task, "bundle" | "exit" | "isFound">;

/** Looks at an event that a shim sends, and notes the end of a container. @throws Error when it cannot be decoded */
export function observe(
  { namespace, topic, event }: Envelope,
  find: (namespace: string, id: string) => Told | undefined,
): News {
  const value = event?.value ?? new Uint8Array(0);
  if (topic === "/tasks/exit") {
    const { containerId, id, pid, exitStatus, exitedAt } = TaskExit.decode(value);
    const task = find(namespace ?? "", containerId);
    if (task !== undefined && id === containerId) {
      const { exit } = task;
      if (exit !== undefined && exit.pid === pid && isSameTime(exit.at, exitedAt)) return "told";
      task.exit = { pid, status: exitStatus, at: exitedAt ?? undefined };
      void task.bundle.noteTold();
    }
    return task?.isFound === true ? "missed" : "new";
  }
  if (topic !== "/tasks/oom" && topic !== "/tasks/delete") return "new";
  return find(namespace ?? "", TaskDelete.decode(value).containerId)?.isFound === true ? "missed" : "new";
}

/**
 * Tells the end of a container in its shim's place.
 * @param how whether its exit is told too, and whether an earlier daemon had started it
 */
export function tellEnd(
  { exchange, log }: { exchange: Pick<Exchange, "forward" | "forwardMissed">; log: Log },
  { namespace, id }: { namespace: string; id: string },
  exit: Exit,
  how: { withExit: boolean; isFound: boolean },
): void {
  const end = { containerId: id, pid: exit.pid, exitStatus: exit.status, exitedAt: timeOr(exit.at) };
  const tell = (topic: string, name: string, value: Uint8Array): void => {
    const event = { type_url: `containerd.events.${name}`, value };
    const envelope = { timestamp: now(), namespace, topic, event };
    log.debug("event published", { ns: namespace, topic, type: event.type_url });
    if (how.isFound) exchange.forwardMissed(envelope);
    else exchange.forward(envelope);
  };
  if (how.withExit) tell("/tasks/exit", "TaskExit", TaskExit.encode({ ...end, id }).finish());
  tell("/tasks/delete", "TaskDelete", TaskDelete.encode(end).finish());
}
