/** The count of a run, and the two ways to add to it: a check of its own, and the files of a test runner. */

/** How many tests ended which way. A check counts as one test. */
export interface Tally {
  passed: number;
  failed: number;
  skipped: number;
}

/** Adds `more` to `tally`. */
export function add(tally: Tally, more: Tally): void {
  tally.passed += more.passed;
  tally.failed += more.failed;
  tally.skipped += more.skipped;
}

/** The last line of every run; scripts read it. */
export function summary(tally: Tally): string {
  return `${tally.passed} passed, ${tally.failed} failed, ${tally.skipped} skipped`;
}

/** Reads the counts of a junit file as bun writes it; undefined when it is not one. */
export function readJunit(xml: string): Tally | undefined {
  const head = /<testsuites\b[^>]*>/.exec(xml)?.[0];
  if (head === undefined) return undefined;
  const number = (name: string): number => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(head)?.[1] ?? Number.NaN);
  const [tests, failed, skipped] = [number("tests"), number("failures"), number("skipped")];
  if ([tests, failed, skipped].some(Number.isNaN)) return undefined;
  return { passed: tests - failed - skipped, failed, skipped };
}
