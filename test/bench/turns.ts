/** The order in which those that are compared take turns, and taking time. */

/**
 * Measures in pairs, A B, B A, A B ..., so that what drifts on the machine falls on both alike. One round before is not
 * recorded: it fills the page cache.
 *
 * @param subjects the reference first
 * @param measure called with `record` false for the round before
 */
export async function inTurns<T>(
  subjects: readonly T[],
  pairs: number,
  measure: (subject: T, record: boolean) => Promise<void>,
): Promise<void> {
  for (let pair = -1; pair < pairs; pair++) {
    const order = pair % 2 === 0 ? subjects : [...subjects].reverse();
    for (const subject of order) await measure(subject, pair >= 0);
  }
}

/** Seconds that a piece of work takes. */
export async function seconds(work: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await work();
  return (performance.now() - begin) / 1000;
}

/** Runs `work` on each item, at most `width` at once. */
export async function each<T>(items: readonly T[], width: number, work: (item: T) => Promise<unknown>): Promise<void> {
  const queue = [...items];
  const worker = async (): Promise<void> => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: width }, worker));
}
