/** containerd's event service (EV-1) as a shim sees it: kept in memory, stopped, slowed and made to fail at will. */

import { rmSync } from "node:fs";
import { containerd, google } from "../../../proto/gen/shim.js";
import { Server, unary } from "../../../proto/ttrpc/index.ts";
import { waitFor } from "../wait.ts";

const messages = containerd.events;
const codecs = {
  TaskCreate: messages.TaskCreate,
  TaskStart: messages.TaskStart,
  TaskExit: messages.TaskExit,
  TaskDelete: messages.TaskDelete,
  TaskOOM: messages.TaskOOM,
  TaskExecAdded: messages.TaskExecAdded,
  TaskExecStarted: messages.TaskExecStarted,
  TaskPaused: messages.TaskPaused,
  TaskResumed: messages.TaskResumed,
  TaskCheckpointed: messages.TaskCheckpointed,
};

/** What the fields of all event messages come down to; those that a message lacks are undefined. */
export interface EventBody {
  readonly containerId: string;
  readonly id?: string;
  readonly execId?: string;
  readonly pid?: number;
  readonly exitStatus?: number;
  readonly exitedAt?: unknown;
  readonly bundle?: string;
}

/** One event as it came. */
export interface ShimEvent {
  /** Without `/tasks/`. */
  readonly topic: string;
  readonly namespace: string;
  /** Of the call's metadata (TT-4). */
  readonly metadata: string | undefined;
  readonly seconds: number;
  readonly typeUrl: string;
  readonly body: EventBody;
}

/** Listens where shims are told to send events. */
export class EventService {
  readonly path: string;
  /** Every event that was acknowledged, in order. */
  readonly received: ShimEvent[] = [];
  /** Called before an event is acknowledged; what it throws is the answer, and the event does not count. */
  before: (event: ShimEvent) => void | Promise<void> = () => undefined;
  /** Calls that came, acknowledged or not. */
  calls = 0;
  #server: Server | undefined;

  constructor(path: string) {
    this.path = path;
  }

  start(): void {
    if (this.#server !== undefined) return;
    rmSync(this.path, { force: true });
    const { ForwardRequest } = containerd.services.events.ttrpc.v1;
    const server = new Server();
    server.register("containerd.services.events.ttrpc.v1.Events", {
      Forward: unary(ForwardRequest, google.protobuf.Empty, async ({ envelope }, context) => {
        this.calls++;
        const typeUrl = envelope?.event?.type_url ?? "";
        const name = typeUrl.replace(/^containerd\.events\./, "") as keyof typeof codecs;
        const event: ShimEvent = {
          topic: (envelope?.topic ?? "").replace(/^\/tasks\//, ""),
          namespace: envelope?.namespace ?? "",
          metadata: context.metadata.get("containerd-namespace-ttrpc"),
          seconds: Number(envelope?.timestamp?.seconds ?? 0),
          typeUrl,
          body: codecs[name].decode(envelope?.event?.value ?? new Uint8Array()) as EventBody,
        };
        await this.before(event);
        this.received.push(event);
        return {};
      }),
    });
    server.listen({ unix: this.path });
    this.#server = server;
  }

  /** Ends all connections and removes the socket, as a containerd that stops. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    await server?.shutdown({ graceMs: 0 });
    rmSync(this.path, { force: true });
  }

  /** The events of one container so far. */
  of(id: string): ShimEvent[] {
    return this.received.filter((event) => event.body.containerId === id);
  }

  /** Topics of one container so far, with the exec's id where there is one: `exit:e1`. */
  topics(id: string): string[] {
    return this.of(id).map(({ topic, body }) => {
      const exec = body.execId ?? (body.id === id ? "" : body.id);
      return exec ? `${topic}:${exec}` : topic;
    });
  }

  /** Waits until the container has had an event of this name, as {@link topics} spells it. */
  async wait(id: string, topic: string, timeout = 10_000): Promise<ShimEvent> {
    return await waitFor(
      `event ${topic} of ${id}`,
      () => {
        const at = this.topics(id).indexOf(topic);
        return at < 0 ? undefined : this.of(id)[at];
      },
      { timeout },
    ).catch((error: Error) => {
      error.message += `; seen: ${this.topics(id).join(" ") || "none"}`;
      throw error;
    });
  }
}
