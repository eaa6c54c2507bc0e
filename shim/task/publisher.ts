/**
 * Events on their way to containerd (EV-1 to EV-5).
 *
 * One queue, one event under way at a time, in order. An event leaves the queue only when containerd has acknowledged
 * it, however long containerd is away; after an acknowledgement it is never sent again. The queue is bounded by count:
 * at the bound the oldest event is dropped and said to be.
 */

import { deadlines } from "../../proto/deadlines.ts";
import { messageOf } from "../../proto/errdefs.ts";
import { containerd, google } from "../../proto/gen/shim.js";
import { type Topic, topics } from "../../proto/topics.ts";
import type { Client } from "../../proto/ttrpc/client.ts";
import { Code, TtrpcError } from "../../proto/ttrpc/status.ts";
import { connect } from "../linux/dial.ts";
import { log } from "../log.ts";
import { timestamp } from "./timestamp.ts";

const { ForwardRequest } = containerd.services.events.ttrpc.v1;
const service = "containerd.services.events.ttrpc.v1.Events";
/** Events kept through an outage; at some 100 bytes each this is a megabyte. */
const CAPACITY = 10_000;
const FIRST_PAUSE = 100;

/** Codes that say that containerd is not there, or not ready; any other answer is about the event itself. */
const transientCodes: readonly number[] = [Code.Unavailable, Code.DeadlineExceeded, Code.Canceled, Code.Unknown];
/** An event that containerd itself refuses this often, while it answers, will never be accepted. */
const MAX_REFUSALS = 5;

interface Queued {
  readonly topic: Topic;
  readonly request: containerd.services.events.ttrpc.v1.ForwardRequest.$Properties;
  refusals: number;
}

/** Sends events to one containerd. */
export class Publisher {
  readonly #address: string;
  readonly #namespace: string;
  readonly #queue: Queued[] = [];
  #client: Client | undefined;
  #sending = false;
  #pause = FIRST_PAUSE;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #dropped = 0;
  #emptied: PromiseWithResolvers<void> | undefined;
  #closed = false;

  /** @param address path of containerd's ttrpc socket; empty when nobody listens to events */
  constructor(address: string, namespace: string) {
    this.#address = address;
    this.#namespace = namespace;
  }

  /** Events that containerd has not acknowledged. */
  get length(): number {
    return this.#queue.length;
  }

  /** Queues an event. @param value the encoded message that belongs to the topic */
  publish(topic: Topic, value: Uint8Array): void {
    if (this.#address === "" || this.#closed) return;
    if (this.#queue.length >= CAPACITY) {
      // The first may be on its way, and must not be taken from under the sender.
      const [lost] = this.#queue.splice(this.#sending ? 1 : 0, 1);
      this.#dropped++;
      log.error(`event queue is full (${CAPACITY}): dropped ${lost?.topic}, ${this.#dropped} so far`);
    }
    const envelope = {
      timestamp: timestamp(Date.now()),
      namespace: this.#namespace,
      topic,
      event: { type_url: `containerd.events.${topics[topic]}`, value },
    };
    this.#queue.push({ topic, request: { envelope }, refusals: 0 });
    if (this.#timer === undefined) void this.#send();
  }

  /** Tries again now: containerd has just been heard of. */
  wake(): void {
    if (this.#queue.length === 0 || this.#sending || this.#closed) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#pause = FIRST_PAUSE;
    void this.#send();
  }

  /** Waits until everything is acknowledged, at most `limit` milliseconds (EV-5). @returns false when it is not */
  async flush(limit: number = deadlines.flush): Promise<boolean> {
    if (this.#queue.length === 0) return true;
    this.wake();
    this.#emptied ??= Promise.withResolvers();
    await Promise.race([this.#emptied.promise, Bun.sleep(limit)]);
    return this.#queue.length === 0;
  }

  /** Drops the connection and what is queued. */
  close(): void {
    this.#closed = true;
    this.#queue.length = 0;
    clearTimeout(this.#timer);
    this.#client?.close();
    this.#client = undefined;
  }

  async #send(): Promise<void> {
    if (this.#sending) return;
    this.#sending = true;
    try {
      for (let first = this.#queue[0]; first !== undefined; first = this.#queue[0]) {
        const done = await this.#forward(first);
        if (this.#closed) return;
        if (!done) {
          this.#retryLater();
          return;
        }
        this.#queue.shift();
        this.#pause = FIRST_PAUSE;
      }
      this.#emptied?.resolve();
      this.#emptied = undefined;
    } finally {
      this.#sending = false;
    }
  }

  /** Sends one event. @returns true when it is done with: acknowledged, or refused for good */
  async #forward(event: Queued): Promise<boolean> {
    try {
      // A containerd that was started anew is reached at the first attempt, not after a failure of the old connection.
      if (!this.#client?.isOpen) this.#client = await connect(this.#address, deadlines.forward);
      await this.#client.call(service, "Forward", ForwardRequest, google.protobuf.Empty, event.request, {
        timeoutMs: deadlines.forward,
        metadata: { "containerd-namespace-ttrpc": this.#namespace },
      });
      return true;
    } catch (error) {
      const answered = error instanceof TtrpcError && error.code === Code.Unknown;
      if (!answered) {
        this.#client?.close();
        this.#client = undefined;
      }
      const transient = !(error instanceof TtrpcError) || transientCodes.includes(error.code);
      if (transient && !(answered && ++event.refusals >= MAX_REFUSALS)) {
        log.debug(`forward ${event.topic}: ${messageOf(error)}; ${this.#queue.length} events wait`);
        return false;
      }
      log.error(`containerd refuses event ${event.topic}: ${messageOf(error)}`);
      return true;
    }
  }

  #retryLater(): void {
    // Who flushes has little time, and nothing else to wait for.
    const pause = this.#emptied === undefined ? this.#pause : FIRST_PAUSE;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.#send();
    }, pause);
    this.#pause = Math.min(this.#pause * 2, deadlines.forwardBackoff);
  }
}
