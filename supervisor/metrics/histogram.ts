/** Counts of values by size. */

import { bound, type Labels, type Sample } from "./text.ts";

/** Upper limits in seconds that clients of containerd expect. */
const seconds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** A histogram of times. */
export class Histogram {
  readonly #counts = new Array<number>(seconds.length + 1).fill(0);
  #sum = 0;
  #count = 0;

  /** @param ms milliseconds */
  observe(ms: number): void {
    const value = ms / 1000;
    const index = seconds.findIndex((limit) => value <= limit);
    const at = index < 0 ? seconds.length : index;
    this.#counts[at] = (this.#counts[at] ?? 0) + 1;
    this.#sum += value;
    this.#count++;
  }

  get count(): number {
    return this.#count;
  }

  samples(labels: Labels): Sample[] {
    let total = 0;
    const buckets = [...seconds, Number.POSITIVE_INFINITY].map((limit, index): Sample => {
      total += this.#counts[index] ?? 0;
      return { labels: { ...labels, le: bound(limit) }, value: total, suffix: "_bucket" };
    });
    return [...buckets, { labels, value: this.#sum, suffix: "_sum" }, { labels, value: this.#count, suffix: "_count" }];
  }
}
