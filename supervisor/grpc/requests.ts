/** Requests that stream. */

/**
 * The requests of a call, ended when the call is: a caller that vanished does not leave its handler waiting.
 * @param signal that of the call
 */
export async function* untilAborted<T>(requests: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T> {
  // A race with one promise for the whole call would keep every request, with its data, until the call ends.
  let wake: (() => void) | undefined;
  const abort = (): void => wake?.();
  signal.addEventListener("abort", abort, { once: true });
  const iterator = requests[Symbol.asyncIterator]();
  try {
    for (;;) {
      const pending = iterator.next();
      const result = await new Promise<IteratorResult<T> | undefined>((resolve, reject) => {
        wake = () => resolve(undefined);
        pending.then(resolve, reject);
        if (signal.aborted) wake();
      });
      if (result === undefined || result.done) return;
      yield result.value;
    }
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
