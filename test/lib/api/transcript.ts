/** What a daemon answered to a list of calls, with what differs from run to run made the same. */

import { status } from "@grpc/grpc-js";
import type { services } from "../../../proto/gen/services.js";
import {
  type CallOptions,
  type GrpcClient,
  isServiceError,
  type MethodName,
  type Request,
  type ServiceName,
} from "../grpc.ts";

type Services = typeof services;

/** One call and its answer, as text. */
export interface Entry {
  readonly call: string;
  readonly answer: string;
}

/** Runs calls and notes the answers. */
export class Transcript {
  readonly entries: Entry[] = [];
  readonly #client: GrpcClient;
  /** The headers of calls that say nothing else. */
  readonly #options: CallOptions;

  constructor(client: GrpcClient, options: CallOptions) {
    this.#client = client;
    this.#options = options;
  }

  /**
   * Calls a method and notes what came of it.
   * @param options instead of the usual headers
   */
  async call<S extends ServiceName, M extends MethodName<S>>(
    service: S,
    method: M,
    request: Request<Services[S][M]>,
    options?: CallOptions,
  ): Promise<void> {
    const short = service.split(".").slice(-1)[0];
    const headers = options === undefined ? "" : ` ${JSON.stringify(options)}`;
    const call = `${this.entries.length}: ${short}.${method} ${textOf(request)}${headers}`;
    this.entries.push({ call, answer: await this.#answer(service, method, request, options ?? this.#options) });
  }

  async #answer<S extends ServiceName, M extends MethodName<S>>(
    service: S,
    method: M,
    request: Request<Services[S][M]>,
    options: CallOptions,
  ): Promise<string> {
    try {
      return textOf(await this.#client.call(service, method, request, options));
    } catch (error) {
      if (!isServiceError(error)) throw error;
      return `${status[error.code]}: ${error.details}`;
    }
  }
}

/** A message as text: fields by name, maps sorted, times and random ids as a word. */
export function textOf(message: unknown): string {
  return JSON.stringify(plain(message)) ?? "nothing";
}

function plain(value: unknown): unknown {
  if (value === null || typeof value !== "object") return value;
  if (value instanceof Uint8Array) return `bytes ${Buffer.from(value).toString("latin1")}`;
  if (Array.isArray(value)) return value.map(plain);
  const entries = Object.entries(value).filter(([, field]) => field !== null && field !== undefined && !isEmpty(field));
  const names = entries.map(([name]) => name).sort();
  if (names.length > 0 && names.every((name) => name === "seconds" || name === "nanos")) {
    return Number((value as { seconds?: unknown }).seconds ?? 0) < 1e9 ? Object.fromEntries(entries) : "TIME";
  }
  if ("low" in value && "high" in value) return Number(value);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, field]) => [name, plain(field)]));
}

function isEmpty(value: unknown): boolean {
  if (value === "" || value === 0 || value === false) return true;
  if (value instanceof Uint8Array || Array.isArray(value)) return value.length === 0;
  return false;
}

/** The entries of two transcripts that differ, one text each. */
export function differences(expected: readonly Entry[], actual: readonly Entry[]): string[] {
  const found: string[] = [];
  for (let at = 0; at < Math.max(expected.length, actual.length); at++) {
    const [a, b] = [expected[at], actual[at]];
    if (a?.call === b?.call && a?.answer === b?.answer) continue;
    found.push(`${a?.call ?? b?.call}\n  - ${a?.answer}\n  + ${b?.answer}`);
  }
  return found;
}
