/** What every measurement is given, and the order in which runtimes take turns. */

import type { Samples, Scale } from "./figures.ts";
import type { Rig, Runtime } from "./rig.ts";

/** The tools of a measurement. */
export interface Bench {
  readonly rig: Rig;
  /** The reference first, the one that is judged last. */
  readonly runtimes: readonly Runtime[];
  readonly scale: Scale;
  readonly samples: Samples;
  /** Tells a person what goes on. */
  readonly say: (text: string) => void;
}

let counter = 0;

/** An id that was not used before in this run. */
export function freshId(runtime: Runtime): string {
  counter++;
  return `${runtime.name}-${counter}`;
}

/**
 * Measures in pairs, A B, B A, A B ..., so that what drifts on the machine falls on both alike. One round before is not
 * recorded: it fills the page cache.
 *
 * @param measure called with `record` false for the round before
 */
export async function inPairs(
  bench: Bench,
  pairs: number,
  measure: (runtime: Runtime, record: boolean) => Promise<void>,
): Promise<void> {
  for (let pair = -1; pair < pairs; pair++) {
    const order = pair % 2 === 0 ? bench.runtimes : [...bench.runtimes].reverse();
    for (const runtime of order) {
      await measure(runtime, pair >= 0);
    }
  }
}

/** Seconds that a piece of work takes. */
export async function seconds(work: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await work();
  return (performance.now() - begin) / 1000;
}

/** Runs `work` on each item, at most `width` at once. */
export async function each<T>(items: readonly T[], width: number, work: (item: T) => Promise<unknown>): Promise<void> {
  const queue = [...items];
  const worker = async (): Promise<void> => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) {
      await work(item);
    }
  };
  await Promise.all(Array.from({ length: width }, worker));
}
