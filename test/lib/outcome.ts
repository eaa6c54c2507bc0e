/**
 * How promises end, for `expect`. Its own `.rejects` and `.resolves` are not used: they run the event loop of Bun inside
 * the callback that they are called from, and what the outer loop had still to hand out (a child's output, say) is lost.
 */

/** What a promise is rejected with. @throws Error when it is not rejected */
export async function rejection(promise: PromiseLike<unknown> | undefined): Promise<unknown> {
  let value: unknown;
  try {
    value = await promise;
  } catch (error) {
    return error;
  }
  throw new Error(`not rejected, but resolved with ${Bun.inspect(value)}`);
}

/** A function that ends as a promise did, for `expect(...).toThrow`. */
export async function outcome<T>(promise: PromiseLike<T>): Promise<() => T> {
  try {
    const value = await promise;
    return () => value;
  } catch (error) {
    return () => {
      throw error;
    };
  }
}
