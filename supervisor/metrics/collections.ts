/** Counts of garbage collections, under containerd's names. */

import { Histogram } from "./histogram.ts";
import type { Family } from "./text.ts";

/** Garbage collections that were. */
export class Collections {
  readonly #counts = { success: 0, fail: 0 };
  readonly #times = new Histogram();

  /** @param ms how long it took */
  ended(ms: number, hasFailed: boolean): void {
    this.#counts[hasFailed ? "fail" : "success"]++;
    if (!hasFailed) this.#times.observe(ms);
  }

  /** How many there were. */
  get state(): Readonly<Record<"success" | "fail", number>> {
    return { ...this.#counts };
  }

  families(): Family[] {
    return [
      {
        name: "containerd_gc_collections_total",
        type: "counter",
        help: "Garbage collections.",
        samples: Object.entries(this.#counts)
          .filter(([status, value]) => value > 0 || status === "success")
          .map(([status, value]) => ({ labels: { status }, value })),
      },
      {
        name: "containerd_gc_gc_seconds",
        type: "histogram",
        help: "How long garbage collections took.",
        samples: this.#times.samples({}),
      },
    ];
  }
}
