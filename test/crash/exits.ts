/** The exits that a daemon tells, by a subscription that comes back whenever the daemon does. */

import { containerd } from "../../proto/gen/supervisor.js";
import type { Daemon } from "../lib/daemon.ts";
import { GrpcClient } from "../lib/grpc.ts";

/** Counts TaskExit of inits. */
export class Exits {
  readonly #daemon: Daemon;
  readonly #counts = new Map<string, number>();
  readonly #controller = new AbortController();
  #running: Promise<void> = Promise.resolve();

  constructor(daemon: Daemon) {
    this.#daemon = daemon;
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#controller.abort();
    await this.#running;
  }

  /** How often the exit of a container was told. */
  count(id: string): number {
    return this.#counts.get(id) ?? 0;
  }

  /** Containers whose exit was told. */
  ended(): string[] {
    return [...this.#counts.keys()];
  }

  async #run(): Promise<void> {
    const { signal } = this.#controller;
    while (!signal.aborted) {
      const client = new GrpcClient(this.#daemon.address);
      try {
        const filters = [`topic=="/tasks/exit",namespace==${this.#daemon.namespace}`];
        for await (const { event } of client.stream(
          "containerd.services.events.v1.Events",
          "Subscribe",
          { filters },
          { signal },
        )) {
          const { containerId, id } = containerd.events.TaskExit.decode(event?.value ?? new Uint8Array(0));
          if (id === containerId) this.#counts.set(id, (this.#counts.get(id) ?? 0) + 1);
        }
      } catch {
        // The daemon was killed.
      } finally {
        client.close();
      }
      await Bun.sleep(10);
    }
  }
}
