/** The table of the matrix: rows are environments, columns are groups of checks. */

import type { Tally } from "../lib/runner/tally.ts";

/** A row that ran, or one that did not and why. */
export interface Line {
  readonly name: string;
  /** Counts by group. */
  readonly tallies: ReadonlyMap<string, Tally>;
  readonly seconds: number;
  /** Why it did not run. */
  readonly absent?: string;
}

/** `passed/failed/skipped`, or a dash where nothing ran. */
export function cell(tally: Tally | undefined): string {
  if (tally === undefined || tally.passed + tally.failed + tally.skipped === 0) return "-";
  return `${tally.passed}/${tally.failed}/${tally.skipped}`;
}

/** Lines of text with a heading; columns in which no row has anything are left out. */
export function table(lines: readonly Line[], groups: readonly string[]): string[] {
  const columns = groups.filter((group) => lines.some((line) => cell(line.tallies.get(group)) !== "-"));
  const rows = [["passed/failed/skipped", ...columns, "all", "time"]];
  for (const line of lines) {
    if (line.absent !== undefined) rows.push([line.name, ...columns.map(() => ""), "not run", ""]);
    else {
      const cells = columns.map((group) => cell(line.tallies.get(group)));
      rows.push([line.name, ...cells, cell(total(line.tallies.values())), `${line.seconds.toFixed(0)} s`]);
    }
  }
  const widths = rows[0]?.map((_, at) => Math.max(...rows.map((row) => (row[at] ?? "").length))) ?? [];
  return rows.map((row) =>
    row
      .map((text, at) => (at === 0 ? text.padEnd(widths[at] ?? 0) : text.padStart(widths[at] ?? 0)))
      .join("  ")
      .trimEnd(),
  );
}

/** The sum of counts. */
export function total(tallies: Iterable<Tally>): Tally {
  const sum: Tally = { passed: 0, failed: 0, skipped: 0 };
  for (const tally of tallies) {
    sum.passed += tally.passed;
    sum.failed += tally.failed;
    sum.skipped += tally.skipped;
  }
  return sum;
}
