/** Whether an image can be unpacked from the blobs that are there. */

import type { Records } from "./records.ts";

/** Labels by which clients name what a blob refers to (containerd's images.ChildGCLabels). */
const references = "containerd.io/gc.ref.content.";

/**
 * True when all blobs of an image are in the namespace, by the labels that clients give to what refers to them. False where
 * the labels do not tell: a manifest that names no layer, a reference of no known kind.
 * @param digest of a manifest or an index
 */
export function isWhole(records: Pick<Records, "blob">, namespace: string, digest: string): boolean {
  const waiting = [digest];
  const seen = new Set(waiting);
  for (const manifest of waiting) {
    const labels = Object.entries(records.blob(namespace, manifest)?.labels ?? {});
    let tells = false;
    for (const [label, target] of labels) {
      if (!label.startsWith(references)) continue;
      const [kind] = label.slice(references.length).split(".");
      if (kind === "m") {
        if (!seen.has(target)) waiting.push(target);
        seen.add(target);
      } else if ((kind !== "l" && kind !== "config") || records.blob(namespace, target) === undefined) return false;
      tells ||= kind !== "config";
    }
    if (!tells) return false;
  }
  return true;
}
