/** Ctrl-C and its like, for verbs that take a while: what they do is cancelled, and the terminal is left in order. */

import { ExitStatus } from "../status.ts";

const numbers = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 } as const;
type Name = keyof typeof numbers;

/**
 * Runs `work` with a signal that is given when the user interrupts. The first interrupt cancels, the second ends the
 * process at once.
 * @throws ExitStatus 128 + the signal's number when it was interrupted; what `work` throws
 */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  let given: Name | undefined;
  const handlers = (Object.keys(numbers) as Name[]).map((name) => {
    const handler = (): void => {
      if (given !== undefined) process.exit(128 + numbers[name]);
      given = name;
      controller.abort();
    };
    process.on(name, handler);
    return [name, handler] as const;
  });
  try {
    const result = await work(controller.signal);
    if (given !== undefined) throw new ExitStatus(128 + numbers[given]);
    return result;
  } catch (error) {
    // What failed because of it is no failure of its own.
    throw given === undefined ? error : new ExitStatus(128 + numbers[given]);
  } finally {
    for (const [name, handler] of handlers) process.off(name, handler);
  }
}
