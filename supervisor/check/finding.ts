/** What a check finds. */

/** What is looked at. */
export type Area = "database" | "content" | "image" | "snapshot" | "container" | "task" | "mount" | "network";

/** What a repair has to deal with. */
export type About =
  | { readonly kind: "blob"; readonly digest: string }
  | { readonly kind: "image"; readonly namespace: string; readonly name: string }
  | { readonly kind: "snapshot"; readonly snapshotter: string; readonly namespace: string; readonly key: string }
  /** A snapshot as overlayfs or native keeps it. */
  | { readonly kind: "tree"; readonly id: number }
  | { readonly kind: "mount"; readonly path: string };

/** One thing that is not as it should be. */
export interface Finding {
  /** error: something on record is not there, or is wrong; note: waste, or something a client may have wanted so. */
  readonly severity: "error" | "note";
  readonly area: Area;
  /** What it is about: `default/sha256:…`. */
  readonly subject: string;
  /** What is wrong with it, and what to do. */
  readonly problem: string;
  /** Not given for what only a person can repair. */
  readonly about?: About | undefined;
}

/** A finding as one line. */
export function lineOf({ severity, area, subject, problem }: Finding): string {
  return `${severity}: ${area} ${subject}: ${problem}`;
}
