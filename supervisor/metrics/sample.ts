/** One number of a container, before it is known whose. */

import type { Labels } from "./text.ts";

export interface CgroupSample {
  /** The name of the family. */
  readonly name: string;
  readonly help: string;
  readonly value: number;
  readonly labels: Labels;
}

/** @param value a 64-bit number as the codec gives it; nothing is 0 */
export function sample(name: string, help: string, value: unknown, labels: Labels = {}): CgroupSample {
  return { name: `container_${name}`, help, value: Number(value ?? 0), labels };
}
