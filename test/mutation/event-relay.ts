/** The relay of events: each connection of the good shim has one of its own to the kit's receiver. */

import { containerd } from "../../proto/gen/shim.js";
import { wide } from "../conformance/rig/number.ts";
import {
  decodeRequest,
  encodeRequest,
  encodeResponse,
  frame,
  frameType,
  headerSize,
  type RequestParts,
} from "../conformance/rig/wire.ts";
import type { Deliver, Fault, Served, ShimEvent } from "./fault.ts";
import { FrameCutter, readHeader } from "./frames.ts";
import { acceptLinks, dialUpstream, type Link, type LinkEnds, OpenLinks } from "./link.ts";
import { Reply } from "./rpc.ts";

const { ForwardRequest } = containerd.services.events.ttrpc.v1;

interface Body {
  decode(bytes: Uint8Array): unknown;
  encode(message: unknown): { finish(): Uint8Array };
}

function bodyOf(typeUrl: string): Body {
  const name = typeUrl.split(".").at(-1) as keyof typeof containerd.events;
  return containerd.events[name] as unknown as Body;
}

/** @returns a promise of the moment at which all connections have ended */
export function relayEvents(
  fault: Fault,
  path: string,
  receiver: string,
  served: Promise<Served>,
): { drained(): Promise<void> } {
  const open = new OpenLinks();
  acceptLinks(path, (shim) => {
    open.opened();
    return new EventRelay(fault, shim, receiver, served, () => open.closed());
  });
  return { drained: () => open.none() };
}

class EventRelay implements LinkEnds {
  readonly #fault: Fault;
  readonly #shim: Link;
  readonly #receiver: string;
  readonly #served: Promise<Served>;
  readonly #ended: () => void;
  readonly #fromShim = new FrameCutter();
  readonly #fromKit = new FrameCutter();
  readonly #pending = new Map<number, PromiseWithResolvers<Reply>>();
  #kit: Promise<Link> | undefined;
  #stream = 1;

  constructor(fault: Fault, shim: Link, receiver: string, served: Promise<Served>, ended: () => void) {
    this.#fault = fault;
    this.#shim = shim;
    this.#receiver = receiver;
    this.#served = served;
    this.#ended = ended;
    // The kit sees a connection when the shim makes one, and the shim sees at once that there is nobody.
    this.#dial().catch(() => this.#hangUp());
  }

  /** From the shim. */
  data(bytes: Uint8Array): void {
    for (const found of this.#fromShim.push(bytes)) {
      if (readHeader(found).type === frameType.request) void this.#forward(found);
    }
  }

  /** The shim has gone. */
  close(): void {
    this.#kit?.then(
      (link) => link.close(),
      () => undefined,
    );
    this.#ended();
  }

  /** A fault without events behaves as the receiver does: it hangs up when that is away. */
  #hangUp(): void {
    this.#kit = undefined;
    for (const { reject } of this.#pending.values()) reject(new Error("the receiver is away"));
    this.#pending.clear();
    if (this.#fault.event === undefined) this.#shim.close();
  }

  /** One connection at a time; a failed attempt is not kept. */
  #dial(): Promise<Link> {
    this.#kit ??= dialUpstream(this.#receiver, {
      data: (bytes) => this.#acknowledged(bytes),
      close: () => this.#hangUp(),
    }).catch((error: unknown) => {
      this.#kit = undefined;
      throw error;
    });
    return this.#kit;
  }

  #acknowledged(bytes: Uint8Array): void {
    for (const found of this.#fromKit.push(bytes)) {
      const { stream } = readHeader(found);
      const pending = this.#pending.get(stream);
      this.#pending.delete(stream);
      pending?.resolve(Reply.read(found.slice(headerSize)));
    }
  }

  async #send(envelope: Uint8Array): Promise<Reply> {
    const link = await this.#dial();
    const pending = Promise.withResolvers<Reply>();
    const stream = this.#stream;
    this.#stream += 2;
    this.#pending.set(stream, pending);
    link.write(frame(stream, frameType.request, envelope));
    return await pending.promise;
  }

  async #forward(found: Uint8Array): Promise<void> {
    const { stream } = readHeader(found);
    const envelope = found.slice(headerSize);
    const { event: hook } = this.#fault;
    try {
      const reply = hook === undefined ? (await this.#send(envelope)).envelope : await this.#changed(envelope, hook);
      if (reply !== undefined) this.#shim.write(frame(stream, frameType.response, reply));
    } catch {
      this.#shim.close();
    }
  }

  async #changed(envelope: Uint8Array, hook: NonNullable<Fault["event"]>): Promise<Uint8Array | undefined> {
    const parts = decodeRequest(envelope);
    const deliver: Deliver = async (event) => (await this.#send(encodeEvent(event, parts))).code;
    const code = await hook(decodeEvent(parts, await this.#served), deliver);
    if (code === undefined) return undefined;
    return encodeResponse(new Uint8Array(), code, code === 0 ? "" : "refused");
  }
}

function decodeEvent({ payload }: RequestParts, served: Served): ShimEvent {
  const { envelope } = ForwardRequest.decode(payload);
  const typeUrl = envelope?.event?.type_url ?? "";
  const body = bodyOf(typeUrl).decode(envelope?.event?.value ?? new Uint8Array()) as Record<string, unknown>;
  const { topic, namespace, timestamp } = envelope ?? {};
  const names = { topic: topic ?? "", namespace: namespace ?? "" };
  return { ...names, seconds: wide(timestamp?.seconds) + (timestamp?.nanos ?? 0) / 1e9, typeUrl, body, served };
}

function encodeEvent({ topic, namespace, seconds, typeUrl, body }: ShimEvent, parts: RequestParts): Uint8Array {
  const timestamp = { seconds: Math.floor(seconds), nanos: Math.floor((seconds % 1) * 1e9) };
  const event = { type_url: typeUrl, value: bodyOf(typeUrl).encode(body).finish() };
  const payload = ForwardRequest.encode({ envelope: { timestamp, namespace, topic, event } }).finish();
  return encodeRequest({ ...parts, payload });
}
