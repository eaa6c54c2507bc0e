/** Waiting for a condition, with a deadline: past it, what was expected is a violation. */

import { Violation } from "../check.ts";

/**
 * Calls `probe` until it answers something other than undefined or false, and returns that.
 * @param expected the end of "expected ... within N ms"
 * @param received what to tell of when it does not come
 * @throws Violation at the deadline
 */
export async function until<T>(
  expected: string,
  probe: () => T | undefined | false | Promise<T | undefined | false>,
  { timeout = 10_000, interval = 5, received = (): string => "nothing of the kind" } = {},
): Promise<T> {
  const end = performance.now() + timeout;
  for (;;) {
    const value = await probe();
    if (value !== undefined && value !== false) return value as T;
    if (performance.now() >= end) throw new Violation(`${expected} within ${timeout} ms`, received());
    await Bun.sleep(interval);
  }
}
