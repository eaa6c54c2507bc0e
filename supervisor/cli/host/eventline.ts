/** Events of the daemon as people read them, and as programs do. */

import { berth, containerd, type google } from "../../../proto/gen/supervisor.js";
import { typeName } from "../../../proto/typeurl.ts";
import { dateOf } from "../../client/images.ts";
import { shown } from "../output/escape.ts";
import type { Item } from "../output/list.ts";

/** An event as the Events service sends it. */
export interface EnvelopeMessage {
  readonly timestamp?: Parameters<typeof dateOf>[0];
  readonly namespace: string;
  readonly topic: string;
  readonly event?: google.protobuf.Any.$Properties | null;
}

interface MessageClass {
  decode(bytes: Uint8Array): object;
  toObject?(message: object, options: object): Record<string, unknown>;
}

const packages: readonly (readonly [string, object])[] = [
  ["containerd.events.", containerd.events],
  ["containerd.services.images.v1.", containerd.services.images.v1],
  ["berth.v1.", berth.v1],
];

/** Names that docker gives to what containerd calls otherwise. */
const actions: Readonly<Record<string, string>> = {
  "/tasks/exit": "die",
  "/tasks/delete": "task-delete",
  "/tasks/create": "task-create",
  "/tasks/exec-added": "exec_create",
  "/tasks/exec-started": "exec_start",
  "/tasks/paused": "pause",
  "/tasks/resumed": "unpause",
  "/tasks/checkpointed": "checkpoint",
  "/containers/delete": "destroy",
  "/berth/health": "health_status",
};
/** First parts of topics. */
const kinds: Readonly<Record<string, string>> = {
  tasks: "container",
  containers: "container",
  images: "image",
  namespaces: "namespace",
  snapshot: "snapshot",
  content: "content",
};
/** Kinds of things that berth's own topics are about. */
const own: Readonly<Record<string, string>> = { "/berth/health": "container" };

/** An event in words: what kind of thing, what happened, to which, and what else is known. */
export interface EventView {
  readonly at: Date;
  readonly namespace: string;
  readonly topic: string;
  readonly type: string;
  readonly action: string;
  readonly subject: string;
  /** All fields, as they came. */
  readonly fields: Readonly<Record<string, unknown>>;
}

/** Reads an event. One of an unknown type has no fields. */
export function eventOf({ timestamp, namespace, topic, event }: EnvelopeMessage): EventView {
  const fields = event ? fieldsOf(event) : {};
  const [, first = "", ...rest] = topic.split("/");
  const type = own[topic] ?? kinds[first] ?? first;
  const text = (name: string): string => (typeof fields[name] === "string" ? (fields[name] as string) : "");
  const exec = topic === "/tasks/exit" && text("id") !== text("containerId");
  return {
    at: dateOf(timestamp),
    namespace,
    topic,
    type,
    action: exec ? "exec_die" : (actions[topic] ?? rest.join("/")),
    subject: text("containerId") || text("id") || text("name") || text("key") || text("digest"),
    fields,
  };
}

function fieldsOf(event: google.protobuf.Any.$Properties): Record<string, unknown> {
  const name = typeName(event);
  const value = event.value ?? new Uint8Array();
  for (const [start, types] of packages) {
    const short = name.slice(start.length);
    if (!name.startsWith(start) || !Object.hasOwn(types, short)) continue;
    try {
      const message = (types as Record<string, MessageClass>)[short]?.decode(value) ?? {};
      return plain(message);
    } catch {
      return {};
    }
  }
  // Events of berth's own are JSON.
  try {
    const parsed: unknown = JSON.parse(new TextDecoder().decode(value));
    return typeof parsed === "object" && parsed !== null ? (parsed as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** The fields that were sent; moments as text, large fields left out. */
function plain(message: object): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(message)) {
    if (value === null || value === undefined || value instanceof Uint8Array) continue;
    if (typeof value === "object" && "seconds" in value) found[key] = dateOf(value as never).toISOString();
    else if (typeof value === "object" && "type_url" in value) continue;
    else if (typeof value === "object" && !Array.isArray(value)) found[key] = plain(value);
    else found[key] = value;
  }
  return found;
}

/** Fields that say more than the subject does, in docker's spelling. */
const told: readonly (readonly [field: string, name: string])[] = [
  ["pid", "pid"],
  ["exitStatus", "exitCode"],
  ["execId", "execID"],
  ["image", "image"],
  ["status", "status"],
  ["parent", "parent"],
];

/** One line for a person, without the date. */
export function wordsOf(event: EventView): string {
  const more = told.flatMap(([field, name]) => {
    const value = event.fields[field];
    return (typeof value === "string" && value !== "") || typeof value === "number"
      ? [`${name}=${shown(String(value))}`]
      : [];
  });
  const details = more.length > 0 ? ` (${more.join(", ")})` : "";
  return `${shown(event.type)} ${shown(event.action)} ${shown(event.subject)}${details}`;
}

/** One line for the live view; undefined for what is of no interest there. */
export function eventLine(envelope: EnvelopeMessage): string | undefined {
  const event = eventOf(envelope);
  if (["snapshot", "content", "namespace"].includes(event.type)) return undefined;
  if (/^(task-create|task-delete|exec_create|update)$/.test(event.action)) return undefined;
  return `${event.at.toTimeString().slice(0, 8)}  ${wordsOf(event)}`;
}

/** An event for programs. */
export function itemOf(event: EventView): Item {
  return {
    Type: event.type,
    Action: event.action,
    ID: event.subject,
    Namespace: event.namespace,
    Topic: event.topic,
    Time: Math.floor(event.at.getTime() / 1000),
    Timestamp: event.at.toISOString(),
    Event: event.fields,
  };
}
