/** Skipping aloud: a test that cannot run here says so and is counted as skipped. */

import { test } from "bun:test";

/**
 * Registers a test, or, given a reason why it cannot run, registers it as skipped and prints `SKIP name: reason`.
 * @param timeout in milliseconds
 */
export function testUnless(
  reason: string | undefined,
  name: string,
  body: () => void | Promise<void>,
  timeout = 60_000,
): void {
  if (reason === undefined) {
    test(name, body, timeout);
    return;
  }
  console.log(`SKIP ${name}: ${reason}`);
  test.skip(name, body);
}
