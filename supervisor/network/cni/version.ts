/** Versions of the CNI specification. */

/** Versions whose results and verbs are understood here, oldest first. */
export const cniVersions = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;

/** True when `version` is `least` or later. Both are `MAJOR.MINOR.PATCH`; what is none counts as the oldest. */
export function isAtLeast(version: string, least: string): boolean {
  const [ours, theirs] = [parts(version), parts(least)];
  for (let at = 0; at < 3; at++) {
    const difference = (ours[at] ?? 0) - (theirs[at] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return true;
}

/** True for a version as the specification writes it. */
export function isVersion(value: unknown): value is string {
  return typeof value === "string" && /^\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(value);
}

function parts(version: string): number[] {
  return isVersion(version) ? version.split(".").map(Number) : [0, 0, 0];
}
