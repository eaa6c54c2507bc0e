/** What the restart monitor makes of an event. */

import { containerd } from "../../proto/gen/supervisor.js";
import type { Envelope } from "../event/exchange.ts";

const { TaskExit, TaskStart, TaskDelete, ContainerCreate, ContainerUpdate, ContainerDelete } = containerd.events;

/** Filters of the events that are followed. */
export const followed = [
  `topic=="/tasks/start"`,
  `topic=="/tasks/exit"`,
  `topic=="/tasks/delete"`,
  "topic~=|^/containers/|",
];

/** Something happened to a container. */
export type Change = { readonly namespace: string; readonly id: string } & (
  | { readonly kind: "started" | "deleted" | "changed" | "removed" }
  | { readonly kind: "ended"; readonly exitStatus: number }
);

/** @returns undefined for what is no change of a container, such as the end of an exec */
export function changeOf({ namespace: given, topic, event }: Envelope): Change | undefined {
  const namespace = given ?? "";
  const value = event?.value ?? new Uint8Array(0);
  switch (topic) {
    case "/tasks/start":
      return { kind: "started", namespace, id: TaskStart.decode(value).containerId };
    case "/tasks/exit": {
      const { containerId, id, exitStatus } = TaskExit.decode(value);
      return id === containerId ? { kind: "ended", namespace, id, exitStatus } : undefined;
    }
    case "/tasks/delete":
      return { kind: "deleted", namespace, id: TaskDelete.decode(value).containerId };
    case "/containers/create":
      return { kind: "changed", namespace, id: ContainerCreate.decode(value).id };
    case "/containers/update":
      return { kind: "changed", namespace, id: ContainerUpdate.decode(value).id };
    case "/containers/delete":
      return { kind: "removed", namespace, id: ContainerDelete.decode(value).id };
    default:
      return undefined;
  }
}
