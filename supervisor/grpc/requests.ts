/** Requests that stream. */

/**
 * The requests of a call, ended when the call is: a caller that vanished does not leave its handler waiting.
 * @param signal that of the call
 */
export async function* untilAborted<T>(requests: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T> {
  const { promise: aborted, resolve } = Promise.withResolvers<undefined>();
  const abort = (): void => resolve(undefined);
  signal.addEventListener("abort", abort, { once: true });
  if (signal.aborted) abort();
  const iterator = requests[Symbol.asyncIterator]();
  try {
    for (;;) {
      const pending = iterator.next();
      pending.catch(() => undefined);
      const result = await Promise.race([pending, aborted]);
      if (result === undefined || result.done) return;
      yield result.value;
    }
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
