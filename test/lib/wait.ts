/** Waiting for a condition, with a deadline and a message that says what did not come. */

/** Thrown when a condition did not come true in time. */
export class WaitTimeout extends Error {
  override name = "WaitTimeout";
}

/** How long and how often {@link waitFor} looks. Both in milliseconds. */
export interface WaitOptions {
  /** Limit of the whole wait; 10 s unless told. */
  timeout?: number;
  /** Pause between two looks; 10 ms unless told. */
  interval?: number;
}

/**
 * Calls `probe` until it answers something other than undefined, null or false, and returns that. What the probe throws
 * counts as "not yet" and is quoted in the error.
 *
 * @param what the end of the sentence "timed out after N ms waiting for ..."
 * @throws WaitTimeout at the deadline
 */
export async function waitFor<T>(
  what: string,
  probe: () => T | Promise<T>,
  options: WaitOptions = {},
): Promise<Exclude<T, undefined | null | false>> {
  const timeout = options.timeout ?? 10_000;
  const end = performance.now() + timeout;
  let last = "";
  for (;;) {
    try {
      const value = await probe();
      if (value !== undefined && value !== null && value !== false) {
        return value as Exclude<T, undefined | null | false>;
      }
      last = "";
    } catch (error) {
      last = `: ${error instanceof Error ? error.message : String(error)}`;
    }
    if (performance.now() >= end) throw new WaitTimeout(`timed out after ${timeout} ms waiting for ${what}${last}`);
    await Bun.sleep(options.interval ?? 10);
  }
}
