/** Which keys of a container's options differ, and whether that needs a new container. Pure. */

import { canonical } from "./canonical.ts";
import type { Made } from "./desired.ts";

/** One key that differs; undefined: not there. */
export interface KeyChange {
  /** Such as `env.PORT`. */
  readonly key: string;
  readonly before: unknown;
  readonly after: unknown;
}

/** Options that a container which runs can take over. */
const inPlace = new Set([
  ...["restart", "stopSignal", "stopTimeout", "dependsOn", "labels", "health", "pull"],
  ...["memory", "memorySwap", "memoryReservation", "pidsLimit"],
  ...["cpus", "cpuShares", "cpuQuota", "cpuPeriod", "cpusetCpus", "cpusetMems"],
]);

/** Of these, those that are the kernel's limits. */
const limits = new Set([
  "memory",
  "memorySwap",
  "memoryReservation",
  "pidsLimit",
  "cpus",
  "cpuShares",
  "cpuQuota",
  "cpuPeriod",
  "cpusetCpus",
  "cpusetMems",
]);

/** The keys in which two containers differ, in order of their names. */
export function keyChanges(before: Made, after: Made): KeyChange[] {
  const [from, to] = [flat(before), flat(after)];
  return [...new Set([...from.keys(), ...to.keys()])]
    .toSorted()
    .filter((key) => canonical(from.get(key)) !== canonical(to.get(key)))
    .map((key) => ({ key, before: from.get(key), after: to.get(key) }));
}

/** True when a container that runs can take over all of the changes. */
export function fitsInPlace(changes: readonly KeyChange[]): boolean {
  const isSameImage = changes.every(({ key }) => key !== "digest");
  return changes.every(
    ({ key, after }) =>
      // Another name for the same image.
      (key === "image" && isSameImage) ||
      // The kernel has no way back to `unlimited` that all versions of runc know: a new container has.
      (inPlace.has(topOf(key)) && !(limits.has(topOf(key)) && after === undefined)),
  );
}

/** True when the kernel's limits are among the changes. */
export function changesLimits(changes: readonly KeyChange[]): boolean {
  return changes.some(({ key }) => limits.has(topOf(key)));
}

function topOf(key: string): string {
  return key.split(".", 1)[0] ?? key;
}

/** Environment and labels by their names, so that a change of one variable is one change. */
function flat({ options, digest }: Made): Map<string, unknown> {
  const keys = new Map<string, unknown>();
  if (digest !== undefined) keys.set("digest", digest);
  for (const [name, value] of Object.entries(options)) {
    if (name === "env") {
      for (const pair of value as readonly string[]) {
        const at = pair.indexOf("=");
        keys.set(`env.${at < 0 ? pair : pair.slice(0, at)}`, at < 0 ? null : pair.slice(at + 1));
      }
    } else if (name === "labels" || name === "sysctls") {
      for (const [key, each] of Object.entries(value as Readonly<Record<string, string>>))
        keys.set(`${name}.${key}`, each);
    } else if (name !== "name" && value !== undefined) {
      keys.set(name, value);
    }
  }
  return keys;
}
