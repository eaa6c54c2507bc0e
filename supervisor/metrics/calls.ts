/** Counts of gRPC calls, under the names of containerd's interceptors. */

import { Histogram } from "./histogram.ts";
import type { Family, Labels, Sample } from "./text.ts";

/** Names of gRPC's codes by number. */
const codes = [
  ...["OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists"],
  ...["PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented"],
  ...["Internal", "Unavailable", "DataLoss", "Unauthenticated"],
];

/** The calls of one method. */
class MethodCalls {
  readonly labels: Labels;
  readonly handled = new Array<number>(codes.length).fill(0);
  readonly times = new Histogram();
  readonly #onEnd: () => void;
  startedCount = 0;
  receivedCount = 0;
  sentCount = 0;

  constructor(labels: Labels, onEnd: () => void) {
    this.labels = labels;
    this.#onEnd = onEnd;
  }

  /** A call has come. */
  started(): void {
    this.startedCount++;
  }

  /** A message of the caller was taken. */
  received(): void {
    this.receivedCount++;
  }

  /** A message was given to the caller. */
  sent(): void {
    this.sentCount++;
  }

  /** A call is over. @param ms how long it took */
  ended(code: number, ms: number): void {
    const known = code < codes.length ? code : 2;
    this.handled[known] = (this.handled[known] ?? 0) + 1;
    this.times.observe(ms);
    this.#onEnd();
  }
}

/** The calls of a server. */
export class CallMetrics {
  readonly #methods: MethodCalls[] = [];
  readonly #onEnd: () => void;

  /** @param onEnd told after every call */
  constructor(onEnd: () => void = () => {}) {
    this.#onEnd = onEnd;
  }

  /** The counts of a method that a server has: those of every method are there from the start. */
  method(service: string, method: string, requestStream: boolean, responseStream: boolean): MethodCalls {
    const type = requestStream
      ? responseStream
        ? "bidi_stream"
        : "client_stream"
      : responseStream
        ? "server_stream"
        : "unary";
    const calls = new MethodCalls({ grpc_service: service, grpc_method: method, grpc_type: type }, this.#onEnd);
    this.#methods.push(calls);
    return calls;
  }

  /** Calls that have come and are not over. */
  get active(): number {
    let active = 0;
    for (const { startedCount, handled } of this.#methods) {
      active += startedCount - handled.reduce((sum, count) => sum + count, 0);
    }
    return active;
  }

  /** Calls that are not over, by method; and how many were. */
  get state(): { readonly active: Readonly<Record<string, number>>; readonly handled: number } {
    const active: Record<string, number> = {};
    let handled = 0;
    for (const calls of this.#methods) {
      const over = calls.handled.reduce((sum, count) => sum + count, 0);
      handled += over;
      const { grpc_service: service, grpc_method: method } = calls.labels;
      if (calls.startedCount > over) active[`${service}/${method}`] = calls.startedCount - over;
    }
    return { active, handled };
  }

  families(): Family[] {
    const each = (name: string, help: string, samples: (calls: MethodCalls) => Sample[]): Family => ({
      name,
      type: "counter",
      help,
      samples: this.#methods.flatMap(samples),
    });
    return [
      each("grpc_server_started_total", "Calls that have come.", ({ labels, startedCount: value }) => [
        { labels, value },
      ]),
      each("grpc_server_msg_received_total", "Messages that callers have sent.", ({ labels, receivedCount: value }) => [
        { labels, value },
      ]),
      each("grpc_server_msg_sent_total", "Messages that callers were sent.", ({ labels, sentCount: value }) => [
        { labels, value },
      ]),
      each("grpc_server_handled_total", "Calls that are over, by their code.", ({ labels, handled }) =>
        handled.map((value, code) => ({ labels: { ...labels, grpc_code: codes[code] ?? "" }, value })),
      ),
      {
        name: "grpc_server_handling_seconds",
        type: "histogram",
        help: "How long calls took, of methods that were called.",
        samples: this.#methods.flatMap(({ labels, times }) => (times.count > 0 ? times.samples(labels) : [])),
      },
    ];
  }
}
