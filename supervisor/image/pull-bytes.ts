/** How many bytes pulls have brought, and how many they need not have. */

import type { Family } from "../metrics/text.ts";

/** Bytes since the daemon was started. */
export class PullBytes {
  readonly #pulled = { full: 0, delta: 0 };
  readonly #saved = { delta: 0, resume: 0 };

  /** Bytes that came from a registry, for whole blobs or for deltas. */
  pulled(kind: "full" | "delta", bytes: number): void {
    this.#pulled[kind] += bytes;
  }

  /** Bytes that need not come: of layers that a delta has made, or because an earlier pull had brought them. */
  saved(kind: "delta" | "resume", bytes: number): void {
    this.#saved[kind] += bytes;
  }

  /** What the status shows. */
  get state(): { readonly pulled: Readonly<Record<string, number>>; readonly saved: Readonly<Record<string, number>> } {
    return { pulled: { ...this.#pulled }, saved: { ...this.#saved } };
  }

  families(): Family[] {
    const samples = (values: Readonly<Record<string, number>>) =>
      Object.entries(values).map(([kind, value]) => ({ labels: { kind }, value }));
    return [
      {
        ...{ name: "berth_pull_bytes_total", type: "counter" },
        help: "Bytes that pulls have brought from registries, for whole blobs and for deltas.",
        samples: samples(this.#pulled),
      },
      {
        ...{ name: "berth_pull_saved_bytes_total", type: "counter" },
        help: "Bytes that pulls need not have brought, because of deltas and of what broken pulls had left.",
        samples: samples(this.#saved),
      },
    ];
  }
}
