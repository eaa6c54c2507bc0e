/** The exits that a daemon tells, by a subscription that comes back whenever the daemon does. */

import { containerd } from "../../proto/gen/supervisor.js";
import type { Daemon } from "../lib/daemon.ts";
import { GrpcClient } from "../lib/grpc.ts";

/** One telling of an exit. */
interface Telling {
  /** How often the daemon had been killed. */
  readonly life: number;
  /** Milliseconds of `performance.now()`. */
  readonly at: number;
}

/** Remembers every TaskExit of an init. */
export class Exits {
  readonly #daemon: Daemon;
  readonly #tellings = new Map<string, Telling[]>();
  readonly #kills: number[] = [];
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
    return this.#tellings.get(id)?.length ?? 0;
  }

  /** Containers whose exit was told. */
  ended(): string[] {
    return [...this.#tellings.keys()];
  }

  #note(id: string): void {
    const told = this.#tellings.get(id) ?? [];
    told.push({ life: this.#kills.length, at: performance.now() });
    this.#tellings.set(id, told);
  }

  /** To be called when the daemon has been killed. */
  killed(): void {
    this.#kills.push(performance.now());
  }

  /**
   * Containers whose exit was told again without need. A shim that had no answer before the daemon died must tell it to
   * the next one; that is so only for what was told in the last moment, in milliseconds.
   */
  repeated(moment: number): string[] {
    return [...this.#tellings]
      .filter(([, tellings]) =>
        tellings.some((telling, at) => {
          const before = tellings[at - 1];
          if (before === undefined) return false;
          const death = this.#kills[before.life];
          return telling.life === before.life || death === undefined || death - before.at > moment;
        }),
      )
      .map(
        ([id, tellings]) =>
          `${id} (${tellings.map(({ life, at }) => `life ${life}, ${Math.round((this.#kills[life] ?? at) - at)} ms before its end`).join("; ")})`,
      );
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
          if (id === containerId) this.#note(id);
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
