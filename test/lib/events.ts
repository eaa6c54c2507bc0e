/** The events of a daemon, collected in the order in which containerd gives them out. */

import type { Subprocess } from "bun";
import type { Daemon } from "./daemon.ts";
import { waitFor } from "./wait.ts";

/** One event as `ctr events` prints it. */
export interface ContainerdEvent {
  timestamp: string;
  namespace: string;
  /** Such as `/tasks/exit`. */
  topic: string;
  /** The message, by its JSON names. */
  body: Record<string, unknown>;
  /** When we saw it, in milliseconds of `performance.now()`. */
  seen: number;
}

const line = /^(\S+ \S+ \S+ \S+) (\S+) (\/\S+) (\{.*\})$/;

/** Parses one line of `ctr events`; undefined when it is none. */
export function parseEvent(text: string): ContainerdEvent | undefined {
  const match = line.exec(text.trim());
  if (!match) return undefined;
  const [, timestamp = "", namespace = "", topic = "", body = "{}"] = match;
  return { timestamp, namespace, topic, body: JSON.parse(body) as Record<string, unknown>, seen: performance.now() };
}

/** A running `ctr events`. */
export class EventCollector {
  readonly #daemon: Daemon;
  #child: Subprocess<"ignore", "pipe", "pipe"> | undefined;
  #reading: Promise<unknown> = Promise.resolve();
  readonly #events: ContainerdEvent[] = [];

  constructor(daemon: Daemon) {
    this.#daemon = daemon;
  }

  /** Starts (again, after a daemon's restart) and returns when events do arrive. Earlier events are kept. */
  async start(): Promise<void> {
    await this.stop();
    const child = Bun.spawn(this.#daemon.ctrCommand(["events"]), { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
    this.#child = child;
    this.#reading = Promise.all([this.#read(child.stdout), new Response(child.stderr).text()]);
    // The subscription has no sign of its own: make small events until the first is seen.
    const mark = Math.random().toString(36).slice(2);
    let tries = 0;
    await waitFor(
      "the event subscription",
      async () => {
        await this.#daemon.ctr(["namespaces", "label", this.#daemon.namespace, `probe=${mark}-${tries++}`]);
        return this.#events.some((e) => e.topic.startsWith("/namespaces/") && JSON.stringify(e.body).includes(mark));
      },
      { interval: 20 },
    );
  }

  /** The pid of `ctr events`, while it runs. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get running(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Ends the subscription; what was seen stays. */
  async stop(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (!child) return;
    child.kill("SIGKILL");
    await child.exited;
    await this.#reading;
  }

  async #read(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of stream) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const text of lines) {
        const event = parseEvent(text);
        if (event) this.#events.push(event);
      }
    }
  }

  /** All events so far. */
  all(): readonly ContainerdEvent[] {
    return this.#events;
  }

  /** The task events of one container so far, in order. */
  of(id: string): ContainerdEvent[] {
    return this.#events.filter((e) => e.topic.startsWith("/tasks/") && e.body["container_id"] === id);
  }

  /** The topics of one container so far, without `/tasks/`. */
  topics(id: string): string[] {
    return this.of(id).map((e) => e.topic.slice("/tasks/".length));
  }

  /**
   * Waits until the container has had `count` events of the topic and returns the last of them.
   * @param topic without `/tasks/`
   */
  async wait(id: string, topic: string, count = 1, timeout = 10_000): Promise<ContainerdEvent> {
    return await waitFor(
      `event /tasks/${topic} number ${count} of ${id}`,
      () => {
        const seen = this.of(id).filter((e) => e.topic === `/tasks/${topic}`);
        return seen.length >= count ? seen[count - 1] : undefined;
      },
      { timeout },
    ).catch((error: Error) => {
      error.message += `; seen: ${this.topics(id).join(" ") || "none"}`;
      throw error;
    });
  }
}
