/** The last events, in words. */

import { berth, containerd } from "../../proto/gen/supervisor.js";
import type { Envelope, Exchange } from "../event/exchange.ts";

/** One event. */
export interface StatusEvent {
  /** As ISO 8601 has it. */
  readonly time: string;
  readonly namespace: string;
  readonly topic: string;
  /** What it is about: a container, an image. */
  readonly subject: string;
  /** Anything more. */
  readonly text: string;
}

/** Events that are kept. */
const KEPT = 60;
/** What people want to see: not every snapshot and blob. */
const filters = ["topic~=^/(tasks|containers|images|berth)/"];
/** What only tells of details: execs, and labels that the daemon itself writes. */
const details = new Set(["/tasks/exec-added", "/tasks/exec-started", "/containers/update"]);
/** Longest text. */
const MAX_TEXT = 300;

const packages: Readonly<Record<string, object>> = {
  "containerd.events.": containerd.events,
  "containerd.services.images.v1.": containerd.services.images.v1,
  "berth.v1.": berth.v1,
};

/** Keeps the last events as they come, and puts them into words when somebody asks. */
export class RecentEvents {
  readonly #kept: Envelope[] = [];
  readonly #ended = new AbortController();

  constructor(exchange: Pick<Exchange, "subscribe">) {
    void this.#run(exchange);
  }

  /** The last events, the latest first. */
  list(): StatusEvent[] {
    return this.#kept.toReversed().map(inWords);
  }

  stop(): void {
    this.#ended.abort();
  }

  async #run(exchange: Pick<Exchange, "subscribe">): Promise<void> {
    const { signal } = this.#ended;
    while (!signal.aborted) {
      try {
        for await (const envelope of exchange.subscribe(filters, signal)) {
          if (details.has(envelope.topic ?? "") || isExecEnd(envelope)) continue;
          this.#kept.push(envelope);
          if (this.#kept.length > KEPT) this.#kept.shift();
        }
      } catch {
        // More came than anybody could read: those are gone, and the next ones are shown.
      }
    }
  }
}

/** A check of a container's health is an exec each time, whose end is no news. */
function isExecEnd({ topic, event }: Envelope): boolean {
  if (topic !== "/tasks/exit") return false;
  const { id, containerId } = decode(event?.type_url ?? "", event?.value ?? new Uint8Array());
  return id !== containerId;
}

function inWords({ timestamp, namespace, topic, event }: Envelope): StatusEvent {
  const seconds = Number(timestamp?.seconds ?? 0);
  const time = new Date(seconds * 1000 + Math.floor((timestamp?.nanos ?? 0) / 1e6)).toISOString();
  const fields = decode(event?.type_url ?? "", event?.value ?? new Uint8Array());
  const subject = firstText(fields, ["containerId", "id", "name", "app"]);
  return { time, namespace: namespace ?? "", topic: topic ?? "", subject, text: textOf(fields).slice(0, MAX_TEXT) };
}

function decode(url: string, value: Uint8Array): Readonly<Record<string, unknown>> {
  for (const [start, types] of Object.entries(packages)) {
    const name = url.slice(start.length);
    if (!url.startsWith(start) || !Object.hasOwn(types, name)) continue;
    const type = (types as Record<string, { decode?(bytes: Uint8Array): unknown }>)[name];
    try {
      return (type?.decode?.(value) ?? {}) as Record<string, unknown>;
    } catch {
      return {};
    }
  }
  return {};
}

function firstText(fields: Readonly<Record<string, unknown>>, names: readonly string[]): string {
  const found = names.map((name) => fields[name]).find((value) => typeof value === "string" && value !== "");
  return typeof found === "string" ? found : "";
}

/** What is worth a word beside the subject. */
function textOf(fields: Readonly<Record<string, unknown>>): string {
  const words: string[] = [];
  if (typeof fields["exitStatus"] === "number" && fields["exitedAt"]) words.push(`exit status ${fields["exitStatus"]}`);
  for (const name of ["status", "state", "message", "error", "output"]) {
    const value = fields[name];
    if (typeof value === "string" && value !== "") words.push(value);
  }
  const evicted = fields["evicted"];
  if (Array.isArray(evicted) && evicted.length > 0) words.push(`evicted ${evicted.map(nameOf).join(", ")}`);
  const volume = fields["volume"] as { level?: unknown; paths?: unknown } | undefined;
  if (volume && Array.isArray(volume.paths)) words.push(`${String(volume.paths[0])}: ${String(volume.level)}`);
  return words.join("; ");
}

function nameOf(evicted: unknown): string {
  const { kind, name } = evicted as { kind?: string; name?: string };
  return `${kind ?? ""} ${name ?? ""}`.trim();
}
