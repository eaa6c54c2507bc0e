/** What a check is: one rule of the contract, and a body that drives a shim to see the rule kept. */

import type { Context } from "./rig/context.ts";

/** MUST: containerd or a client breaks without it. SHOULD: a visible defect. */
export type Level = "must" | "should";

/** One rule, as it is declared. `C` is what the body is given; the runner's own tests bring a simpler one. */
export interface Check<C = Context> {
  /** The contract's id; where an id has several checks, with a suffix after a dot: `T-STA-2.running`. */
  readonly id: string;
  readonly level: Level;
  /** The rule, in one sentence. */
  readonly title: string;
  /** Where containerd, ttrpc or a client rely on it. */
  readonly source: string;
  /** Runs when no other check does: it measures what others would disturb. */
  readonly alone?: boolean;
  /** Limit in milliseconds, where the run's own (`--timeout`) is too short. */
  readonly limit?: number;
  /** Returns when the rule is kept. @throws Violation when it is not; Skip when it cannot be seen here */
  readonly body: (context: C) => Promise<void>;
}

/** Checks that belong together. */
export interface Section {
  /** One word or two, for summaries. */
  readonly name: string;
  readonly checks: readonly Check[];
}

/** The rule is broken. */
export class Violation extends Error {
  override readonly name = "Violation";
  readonly expected: string;
  readonly received: string;

  constructor(expected: string, received: string) {
    super(`expected ${expected}; came back: ${received}`);
    this.expected = expected;
    this.received = received;
  }
}

/** The rule cannot be seen on this machine, or does not apply to this shim. */
export class Skip extends Error {
  override readonly name = "Skip";
}

/** Which of the checks to run. */
export interface Selection {
  /** Ids or globs; all when empty. */
  readonly only: readonly string[];
  readonly skip: readonly string[];
  /** `must` leaves out the rest. */
  readonly level: Level;
}

/** True when an id is named: by itself, by a glob, or by the contract's id without the suffix. */
export function names(pattern: string, id: string): boolean {
  return new Bun.Glob(pattern).match(id) || id.startsWith(`${pattern}.`);
}

/** The checks of a selection, in the order of declaration. @throws Error when a pattern names none */
export function select<T extends { readonly id: string; readonly level: Level }>(
  checks: readonly T[],
  selection: Selection,
): T[] {
  for (const pattern of [...selection.only, ...selection.skip]) {
    if (!checks.some(({ id }) => names(pattern, id))) throw new Error(`no check has the id ${pattern} (see --list)`);
  }
  return checks.filter(({ id, level }) => {
    if (selection.level === "must" && level !== "must") return false;
    if (selection.skip.some((pattern) => names(pattern, id))) return false;
    return selection.only.length === 0 || selection.only.some((pattern) => names(pattern, id));
  });
}
