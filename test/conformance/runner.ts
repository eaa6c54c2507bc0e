/** Runs checks: some at a time, each with a limit and a place of its own that is cleaned up whatever happens. */

import { type Check, Skip, Violation } from "./check.ts";
import type { Failure, Result } from "./result.ts";

/** A place that one check works in. */
export interface Place<C> {
  readonly context: C;
  /** The last of what was sent and came back, and of the shim's log. */
  evidence(): Pick<Failure, "exchanges" | "log">;
  /** Ends and removes all that the check has made. */
  close(): void;
}

/** A check with the name of its section. */
export interface Listed<C> extends Check<C> {
  readonly section: string;
}

export interface RunOptions<C> {
  /** Checks that run at the same time. */
  readonly jobs: number;
  /** Limit of a check in milliseconds, unless it has a longer one of its own. */
  readonly timeout: number;
  /** Makes the place of a check. */
  open(check: Listed<C>): Place<C>;
  /** Told before and after each check. */
  began?(check: Listed<C>): void;
  ended?(result: Result): void;
  /** No check is begun any more. */
  readonly signal?: AbortSignal;
}

/** @returns the results in the order of the checks */
export async function runChecks<C>(checks: readonly Listed<C>[], options: RunOptions<C>): Promise<Result[]> {
  const results = new Map<Listed<C>, Result>();
  const worker = async (queue: Listed<C>[]): Promise<void> => {
    for (let check = queue.shift(); check !== undefined; check = queue.shift()) {
      if (options.signal?.aborted) return;
      options.began?.(check);
      const result = await runCheck(check, options);
      results.set(check, result);
      options.ended?.(result);
    }
  };
  const together = checks.filter(({ alone }) => !alone);
  await Promise.all(Array.from({ length: Math.max(1, options.jobs) }, () => worker(together)));
  await worker(checks.filter(({ alone }) => alone));
  return checks.flatMap((check) => results.get(check) ?? []);
}

async function runCheck<C>(check: Listed<C>, options: RunOptions<C>): Promise<Result> {
  const { id, section, level, title, source } = check;
  const begun = performance.now();
  const about = { id, section, level, title, source };
  const ended = (rest: Pick<Result, "outcome" | "failure" | "reason">): Result => {
    return { ...about, ...rest, ms: Math.round(performance.now() - begun) };
  };
  let place: Place<C>;
  try {
    place = options.open(check);
  } catch (error) {
    return ended(broken(error));
  }
  let verdict: Pick<Result, "outcome" | "failure" | "reason">;
  try {
    await within(check.body(place.context), Math.max(options.timeout, check.limit ?? 0));
    verdict = { outcome: "pass" };
  } catch (error) {
    verdict = judge(error, place);
  }
  try {
    place.close();
  } catch (error) {
    verdict = broken(error);
  }
  return ended(verdict);
}

/** Races a body against its limit. What it does afterwards is nobody's concern: its place is closed. */
async function within(body: Promise<void>, limit: number): Promise<void> {
  let timer: Timer | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Violation(`the check to end within ${limit} ms`, "no end")), limit);
  });
  body.catch(() => undefined);
  try {
    await Promise.race([body, late]);
  } finally {
    clearTimeout(timer);
  }
}

function judge(error: unknown, place: Place<unknown>): Pick<Result, "outcome" | "failure" | "reason"> {
  if (error instanceof Skip) return { outcome: "skip", reason: error.message };
  if (error instanceof Violation) {
    const { expected, received } = error;
    return { outcome: "fail", failure: { expected, received, ...place.evidence() } };
  }
  // A status or a closed connection where the check went on as if there were an answer.
  const { name, message } = error as Error;
  if (name === "StatusError" || name === "ClosedError") {
    const failure = { expected: "the call to be answered", received: message, ...place.evidence() };
    return { outcome: "fail", failure };
  }
  return broken(error);
}

function broken(error: unknown): Pick<Result, "outcome" | "reason"> {
  return { outcome: "error", reason: error instanceof Error ? (error.stack ?? error.message) : String(error) };
}
