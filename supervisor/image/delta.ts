/** What transfers need of deltas (supervisor/delta): images that are made of older ones. */

import type { Descriptor } from "./descriptor.ts";
import type { Registry } from "./registry.ts";
import type { Job, StoreEnd } from "./transfer.ts";

/** Type of the artifact that a delta is. */
export const DELTA_TYPE = "application/vnd.berth.delta.v1";

/** True for a descriptor of a delta, as far as it says so itself. */
export function isDelta({ artifactType }: Descriptor): boolean {
  return artifactType === DELTA_TYPE;
}

/** Makes an image of a delta whose blobs are there. */
export interface DeltaLoader {
  /**
   * Makes its blobs.
   * @returns what the image's name is to stand for, and the name
   * @throws ContainerdError FailedPrecondition when the older image is not here
   */
  load(delta: Descriptor, job: Job): Promise<{ readonly root: Descriptor; readonly name: string }>;
}

/** Makes an image of a delta that its registry has. */
export interface DeltaPuller {
  /**
   * Looks for a delta that leads from an image which is here to `target`, and makes its blobs.
   * @returns what the image's name is to stand for; undefined where all of it has to be fetched
   */
  pull(registry: Registry, target: Descriptor, store: StoreEnd, job: Job): Promise<Descriptor | undefined>;
}
