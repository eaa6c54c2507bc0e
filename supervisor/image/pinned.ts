/** Pinned images: those that nobody takes away without being told to (the CRI's label). */

import type { Labels } from "../store/labels.ts";

/** The label of a pinned image, and its one value. */
export const PINNED = "io.cri-containerd.pinned";
export const PINNED_VALUE = "pinned";

/** True for the labels of an image that neither collection nor eviction may take, and that is removed by force alone. */
export function isPinned(labels: Labels): boolean {
  return Object.hasOwn(labels, PINNED) && labels[PINNED] === PINNED_VALUE;
}
