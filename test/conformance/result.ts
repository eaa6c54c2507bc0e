/** What a run found, as it is reported and merged. */

import type { Level } from "./check.ts";

/**
 * `expected`: it failed, and the list of known deviations says so. `passed-unexpectedly`: that list is out of date.
 * `error`: the kit itself failed.
 */
export type Outcome = "pass" | "fail" | "skip" | "expected" | "passed-unexpectedly" | "error";

/** Why a check failed. */
export interface Failure {
  readonly expected: string;
  readonly received: string;
  /** The last of what was sent and what came back, in order. */
  readonly exchanges: readonly string[];
  /** The last lines of the shim's log. */
  readonly log: readonly string[];
}

/** What became of one check. */
export interface Result {
  readonly id: string;
  readonly section: string;
  readonly level: Level;
  readonly title: string;
  readonly source: string;
  readonly outcome: Outcome;
  readonly ms: number;
  readonly failure?: Failure;
  /** Why it was skipped, or why it was expected to fail. */
  readonly reason?: string;
}

/** One run. */
export interface Report {
  readonly format: 1;
  readonly shim: string;
  /** What the shim says with `-v`, or its path. */
  readonly name: string;
  readonly machine: string;
  /** ISO 8601. */
  readonly begun: string;
  readonly ms: number;
  readonly results: readonly Result[];
}

/** Numbers of outcomes. */
export type Counts = Readonly<Record<Outcome, number>>;

export function count(results: readonly Result[]): Counts {
  const counts = { pass: 0, fail: 0, skip: 0, expected: 0, "passed-unexpectedly": 0, error: 0 };
  for (const { outcome } of results) counts[outcome]++;
  return counts;
}

/** True for what makes a run fail: a MUST that does not hold, or a list of deviations that is out of date. */
export function isBad({ outcome, level }: Result): boolean {
  return outcome === "passed-unexpectedly" || (outcome === "fail" && level === "must");
}

/** 0 when every MUST holds, 1 when one does not, 2 when the kit could not run. */
export function exitStatus(results: readonly Result[]): 0 | 1 | 2 {
  if (results.some(({ outcome }) => outcome === "error")) return 2;
  return results.some(isBad) ? 1 : 0;
}

/** The sections of a report, in order, with their results. */
export function sectionsOf(results: readonly Result[]): Map<string, Result[]> {
  const sections = new Map<string, Result[]>();
  for (const result of results) {
    const section = sections.get(result.section);
    if (section === undefined) sections.set(result.section, [result]);
    else section.push(result);
  }
  return sections;
}
