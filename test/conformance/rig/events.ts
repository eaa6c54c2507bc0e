/** containerd's event service (EV-1) as a shim sees it: events are kept, and can be refused, held up or missed at will. */

import { rmSync } from "node:fs";
import type { Socket, UnixSocketListener } from "bun";
import { containerd } from "../../../proto/gen/shim.js";
import { show } from "../assert.ts";
import { milliseconds } from "./task.ts";
import type { Transcript } from "./transcript.ts";
import { until } from "./wait.ts";
import { decodeRequest, encodeResponse, FrameReader, frame, frameType } from "./wire.ts";

const messages = containerd.events;
const bodies: Readonly<Record<string, { decode(bytes: Uint8Array): unknown }>> = {
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
  readonly exitedAt?: containerd.events.TaskExit["exitedAt"];
  readonly bundle?: string;
  readonly rootfs?: readonly { readonly type?: string; readonly source?: string }[];
  readonly io?: { readonly stdin?: string; readonly stdout?: string; readonly stderr?: string; terminal?: boolean };
}

/** One event as it came. */
export interface TaskEvent {
  readonly topic: string;
  readonly namespace: string;
  /** Of the call's metadata. */
  readonly metadata: string | undefined;
  /** Milliseconds since the epoch, as the shim says. */
  readonly timestamp: number;
  readonly typeUrl: string;
  readonly body: EventBody;
  /** Service and method of the call. */
  readonly method: string;
}

interface Peer {
  readonly reader: FrameReader;
}

export class EventReceiver {
  readonly path: string;
  /** Every event that was acknowledged, in order. */
  readonly received: TaskEvent[] = [];
  /** Forward calls that came, acknowledged or not. */
  calls = 0;
  /** What becomes of the next events: acknowledged, answered with Unavailable, or kept waiting. */
  answer: "acknowledge" | "refuse" | "wait" = "acknowledge";
  /** What acknowledgements wait for. */
  gate: Promise<void> = Promise.resolve();
  readonly #transcript: Transcript;
  readonly #peers = new Set<Socket<Peer>>();
  #listener: UnixSocketListener<Peer> | undefined;

  constructor(path: string, transcript: Transcript) {
    this.path = path;
    this.#transcript = transcript;
  }

  start(): void {
    rmSync(this.path, { force: true });
    this.#listener = Bun.listen<Peer>({
      unix: this.path,
      socket: {
        open: (socket) => {
          socket.data = { reader: new FrameReader() };
          this.#peers.add(socket);
        },
        data: (socket, bytes) => {
          for (const { stream, type, payload } of socket.data.reader.push(bytes)) {
            if (type === frameType.request) void this.#forwarded(socket, stream, payload);
          }
        },
        close: (socket) => {
          this.#peers.delete(socket);
        },
        error: (socket) => {
          this.#peers.delete(socket);
        },
      },
    });
  }

  /** Ends all connections and removes the socket, as a containerd that stops. */
  stop(): void {
    this.#listener?.stop(true);
    this.#listener = undefined;
    for (const peer of this.#peers) peer.terminate();
    this.#peers.clear();
    rmSync(this.path, { force: true });
  }

  async #forwarded(socket: Socket<Peer>, stream: number, payload: Uint8Array): Promise<void> {
    this.calls++;
    const request = decodeRequest(payload);
    const { envelope } = containerd.services.events.ttrpc.v1.ForwardRequest.decode(request.payload);
    const typeUrl = envelope?.event?.type_url ?? "";
    const codec = bodies[typeUrl.replace(/^containerd\.events\./, "")];
    const event: TaskEvent = {
      topic: envelope?.topic ?? "",
      namespace: envelope?.namespace ?? "",
      metadata: request.metadata?.["containerd-namespace-ttrpc"],
      timestamp: milliseconds(envelope?.timestamp),
      typeUrl,
      body: (codec?.decode(envelope?.event?.value ?? new Uint8Array()) ?? { containerId: "" }) as EventBody,
      method: `${request.service}/${request.method}`,
    };
    const { answer } = this;
    this.#transcript.add("event", `event ${event.topic} ${show(event.body)}${answer === "acknowledge" ? "" : answer}`);
    if (answer === "wait") return;
    if (answer === "acknowledge") this.received.push(event);
    await this.gate;
    const none = new Uint8Array();
    const response = answer === "refuse" ? encodeResponse(none, 14, "the receiver refuses") : encodeResponse(none);
    socket.write(frame(stream, frameType.response, response));
  }

  /** The events of one container so far. */
  of(id: string): TaskEvent[] {
    return this.received.filter(({ body }) => body.containerId === id);
  }

  /** Topics of one container so far, without `/tasks/` and with the exec's id where there is one: `exit:e1`. */
  topics(id: string): string[] {
    return this.of(id).map((event) => nameOf(event, id));
  }

  /** Waits until the container has had an event of this name, as {@link topics} spells it. @throws Violation */
  async wait(id: string, name: string, timeout = 5000): Promise<TaskEvent> {
    return await until(`the event ${name} of ${id}`, () => this.of(id).find((event) => nameOf(event, id) === name), {
      timeout,
      received: () => `the events ${this.topics(id).join(", ") || "of nobody"}`,
    });
  }
}

function nameOf({ topic, body }: TaskEvent, id: string): string {
  const exec = body.execId ?? (body.id === id ? "" : body.id);
  return `${topic.replace(/^\/tasks\//, "")}${exec ? `:${exec}` : ""}`;
}
