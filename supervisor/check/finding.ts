/** What a check finds. */

/** What is looked at. */
export type Area = "database" | "content" | "image" | "snapshot" | "container" | "task" | "mount";

/** One thing that is not as it should be. */
export interface Finding {
  /** error: something on record is not there, or is wrong; note: waste, or something a client may have wanted so. */
  readonly severity: "error" | "note";
  readonly area: Area;
  /** What it is about: `default/sha256:…`. */
  readonly subject: string;
  /** What is wrong with it, and what to do. */
  readonly problem: string;
}

/** A finding as one line. */
export function lineOf({ severity, area, subject, problem }: Finding): string {
  return `${severity}: ${area} ${subject}: ${problem}`;
}
