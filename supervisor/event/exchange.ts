/**
 * The bus that everything is told on. An event is given to every subscriber whose filter lets it through, in the order of
 * publication; a subscriber that does not read is cut off with an error when its queue is full, so that it knows.
 */

import { ContainerdError, invalidArgument } from "../../proto/errdefs.ts";
import { containerd, type google } from "../../proto/gen/supervisor.js";
import { Code } from "../../proto/ttrpc/status.ts";
import { type FieldLookup, type Filter, parseFilters } from "../store/filter.ts";
import { validateIdentifier } from "../store/identifier.ts";
import { quote } from "../store/quote.ts";
import { fieldOfEvent } from "./fields.ts";

/** An event with where and when it happened. */
export type Envelope = containerd.types.Envelope.$Properties;

/** Events that wait for one subscriber, at most. */
const MAX_QUEUED = 65_536;
/** Events that are kept for those who come back, at most. */
const MAX_MISSED = 10_000;
/** Who comes back does so within this time, in milliseconds: clients of gRPC try again after a second, then longer. */
const RETURN_MS = 15_000;

/** Events that are given to one subscriber at once, at most. */
const MAX_BATCH = 256;

/** An event on its way, encoded once for all who get it. */
export class Sent {
  readonly envelope: Envelope;
  #bytes: Uint8Array | undefined;

  constructor(envelope: Envelope) {
    this.envelope = envelope;
  }

  /** The encoded envelope. */
  get bytes(): Uint8Array {
    this.#bytes ??= containerd.types.Envelope.encode(this.envelope).finish();
    return this.#bytes;
  }
}

interface Subscriber {
  readonly passes: Filter;
  readonly queue: Sent[];
  wake: (() => void) | undefined;
  isOverrun: boolean;
}

/** The exchange of one daemon. */
export class Exchange {
  readonly #subscribers = new Set<Subscriber>();
  #published = 0;
  /** What those missed who were subscribed to an earlier daemon. */
  #missed: Sent[] = [];
  readonly #startedAt = performance.now();

  /**
   * Publishes an event of the daemon itself.
   * @param event its message name and encoded bytes; a client may publish none
   */
  publish(namespace: string, topic: string, event: { name: string; value: Uint8Array } | undefined): void {
    const any = event === undefined ? null : { type_url: event.name, value: event.value };
    this.forward({ timestamp: now(), namespace, topic, event: any });
  }

  /**
   * Passes an event on, with the time and namespace that it has.
   * @throws ContainerdError InvalidArgument when topic, namespace or timestamp is missing or wrong
   */
  forward(envelope: Envelope): void {
    this.#forward(envelope);
  }

  /**
   * {@link forward} of what subscribers of an earlier daemon wait for, such as the end of a container that it had started:
   * who subscribes soon after our start is told too.
   */
  forwardMissed(envelope: Envelope): void {
    const sent = this.#forward(envelope);
    if (this.#isReturning() && this.#missed.length < MAX_MISSED) this.#missed.push(sent);
  }

  #isReturning(): boolean {
    if (performance.now() - this.#startedAt < RETURN_MS) return true;
    this.#missed = [];
    return false;
  }

  #forward(envelope: Envelope): Sent {
    check(envelope);
    this.#published++;
    const lookup = lookupOf(envelope);
    const sent = new Sent(envelope);
    for (const subscriber of this.#subscribers) {
      if (subscriber.isOverrun || !subscriber.passes(lookup)) continue;
      if (subscriber.queue.length >= MAX_QUEUED) {
        subscriber.isOverrun = true;
        subscriber.queue.length = 0;
      } else {
        subscriber.queue.push(sent);
      }
      subscriber.wake?.();
    }
    return sent;
  }

  /** Number of subscribers, of events that wait for them, and of events that there were. */
  get depth(): { subscribers: number; queued: number; published: number } {
    let queued = 0;
    for (const { queue } of this.#subscribers) queued += queue.length;
    return { subscribers: this.#subscribers.size, queued, published: this.#published };
  }

  /**
   * Subscribes at once; what is published from now on comes out of the result until the signal is aborted.
   * @throws ContainerdError InvalidArgument for a wrong filter; ResourceExhausted, from the iteration, when the queue ran
   * over
   */
  subscribe(filters: readonly string[], signal: AbortSignal): AsyncIterable<Envelope> {
    const batches = this.subscribeBatches(filters, signal);
    return (async function* envelopes() {
      for await (const batch of batches) for (const { envelope } of batch) yield envelope;
    })();
  }

  /** {@link subscribe}, with all events that came together in one batch. */
  subscribeBatches(filters: readonly string[], signal: AbortSignal): AsyncIterable<readonly Sent[]> {
    const subscriber: Subscriber = {
      passes: parseFilters(filters, (problem) => `failed parsing subscription filters: ${problem}`),
      queue: [],
      wake: undefined,
      isOverrun: false,
    };
    if (this.#isReturning()) {
      subscriber.queue.push(...this.#missed.filter(({ envelope }) => subscriber.passes(lookupOf(envelope))));
    }
    this.#subscribers.add(subscriber);
    const leave = (): void => {
      this.#subscribers.delete(subscriber);
      subscriber.wake?.();
    };
    signal.addEventListener("abort", leave, { once: true });
    if (signal.aborted) leave();
    const subscribers = this.#subscribers;
    return (async function* events() {
      try {
        while (!signal.aborted) {
          if (subscriber.isOverrun) {
            throw new ContainerdError(
              Code.ResourceExhausted,
              `more than ${MAX_QUEUED} events waited for this subscriber: subscribe again and read faster`,
            );
          }
          const batch = subscriber.queue.splice(0, MAX_BATCH);
          if (batch.length > 0) {
            yield batch;
            continue;
          }
          const { promise, resolve } = Promise.withResolvers<void>();
          // What is published in the same turn of the event loop comes with it.
          subscriber.wake = () => {
            subscriber.wake = undefined;
            setImmediate(resolve);
          };
          await promise;
        }
      } finally {
        signal.removeEventListener("abort", leave);
        subscribers.delete(subscriber);
      }
    })();
  }
}

/** The present as protobuf has it. */
export function now(): google.protobuf.Timestamp.$Properties {
  const ms = Date.now();
  return { seconds: Math.floor(ms / 1000), nanos: (ms % 1000) * 1_000_000 };
}

function check({ topic, namespace, timestamp }: Envelope): void {
  validateIdentifier(namespace ?? "", "event envelope has invalid namespace: ");
  checkTopic(topic ?? "");
  if (!timestamp) throw invalidArgument("timestamp must be set on forwarded event: invalid argument");
}

/** What a topic looks like; one no longer than an identifier has no part that is too long. */
const topicPattern = /^(?:\/[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*)+$/;
const MAX_PLAIN_TOPIC = 76;

/** Topics are paths of identifiers. */
function checkTopic(topic: string): void {
  if (topicPattern.test(topic) && topic.length <= MAX_PLAIN_TOPIC) return;
  const before = `envelope topic ${quote(topic)}: `;
  if (topic === "") throw invalidArgument(`${before}must not be empty: invalid argument`);
  if (topic[0] !== "/") throw invalidArgument(`${before}must start with '/': invalid argument`);
  if (topic === "/") throw invalidArgument(`${before}must have at least one component: invalid argument`);
  for (const part of topic.slice(1).split("/")) {
    validateIdentifier(part, `${before}failed validation on component ${quote(part)}: `);
  }
}

/** Fields that filters may ask for: topic, namespace, and those of the event itself after `event.`. */
function lookupOf(envelope: Envelope): FieldLookup {
  return ([first = "", ...rest]) => {
    if (first === "namespace" && rest.length === 0) return envelope.namespace || undefined;
    if (first === "topic" && rest.length === 0) return envelope.topic || undefined;
    if (first === "event" && envelope.event) return fieldOfEvent(envelope.event, rest);
    return undefined;
  };
}

/** The codec that events of the daemon's own are encoded by. */
export const events = containerd.events;
