/** What every measurement is given, and the order in which runtimes take turns. */

import type { Samples } from "../figure.ts";
import { inTurns } from "../turns.ts";
import type { Scale } from "./figures.ts";
import type { Rig, Runtime } from "./rig.ts";

export { each, seconds } from "../turns.ts";

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

/** {@link inTurns} with the runtimes of a bench. */
export function inPairs(
  bench: Bench,
  pairs: number,
  measure: (runtime: Runtime, record: boolean) => Promise<void>,
): Promise<void> {
  return inTurns(bench.runtimes, pairs, measure);
}
