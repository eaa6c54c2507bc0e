/** Keeping an image under its names: the end of every transfer into the store. */

import type { Descriptor } from "./descriptor.ts";
import type { Job, StoreEnd } from "./transfer.ts";

/** Makes or replaces the images of these names. */
export async function save(
  store: StoreEnd,
  target: Descriptor,
  names: readonly string[],
  { images }: Job,
): Promise<void> {
  for (const name of names) await images.put({ name, target, labels: store.labels });
}
