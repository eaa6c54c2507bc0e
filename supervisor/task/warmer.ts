/** When a shim is started in advance. */

import { containerd } from "../../proto/gen/supervisor.js";
import type { Exchange } from "../event/exchange.ts";
import type { ShimPool } from "./pool.ts";

const { SnapshotPrepare } = containerd.events;

/** Has a shim started in advance when a client makes a container, or the snapshot that it will run on. */
export class Warmer {
  readonly #pool: ShimPool;
  readonly #controller = new AbortController();

  constructor(exchange: Exchange, pool: ShimPool) {
    this.#pool = pool;
    void this.#run(exchange);
  }

  stop(): void {
    this.#controller.abort();
    this.#pool.stop();
  }

  async #run(exchange: Exchange): Promise<void> {
    const { signal } = this.#controller;
    while (!signal.aborted) {
      const events = exchange.subscribe([`topic=="/containers/create"`, `topic=="/snapshot/prepare"`], signal);
      try {
        for await (const { topic, event } of events) {
          // Layers are unpacked on snapshots of their own, which nothing runs on.
          const isLayer =
            topic === "/snapshot/prepare" &&
            SnapshotPrepare.decode(event?.value ?? new Uint8Array(0)).key.startsWith("extract-");
          if (!isLayer) this.#pool.warm();
        }
      } catch {
        // Some were lost; they were many.
      }
    }
  }
}
