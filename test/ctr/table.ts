/** The table of commands and versions, for a person and for the README. */

import type { Verdict } from "./compare.ts";

/** One version of ctr. */
export interface Column {
  readonly version: string;
  /** With its last number. */
  readonly full?: string;
  readonly verdicts: readonly Verdict[];
  /** Why it is not on this machine. */
  readonly absent?: string;
}

const words: Record<Verdict["outcome"], string> = {
  equal: "equal",
  "as newest": "as containerd 2.1",
  known: "differs (1)",
  differs: "differs",
  skipped: "not here",
};

function cell(column: Column, row: string): string {
  if (column.absent !== undefined) return "not here";
  const verdict = column.verdicts.find((one) => one.row === row);
  if (verdict === undefined) return "-";
  return words[verdict.outcome];
}

function rowsOf(columns: readonly Column[]): string[] {
  return [...new Set(columns.flatMap((column) => column.verdicts.map((one) => one.row)))].sort();
}

/** The table as lines of markdown. */
export function table(columns: readonly Column[]): string[] {
  const rows = [
    ["command", ...columns.map((column) => `ctr ${column.full ?? column.version}`)],
    ...rowsOf(columns).map((row) => [row, ...columns.map((column) => cell(column, row))]),
  ];
  const widths = rows[0]?.map((_, at) => Math.max(...rows.map((row) => (row[at] ?? "").length))) ?? [];
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((text, at) => text.padEnd(widths[at] ?? 0)).join(" | ")} |`;
  const [head = [], ...body] = rows;
  return [line(head), `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`, ...body.map(line)];
}

const [open, close] = ["<!-- ctr table -->", "<!-- /ctr table -->"];

/** The README with the table in the place that is marked for it. @throws Error when there is no such place */
export function intoReadme(readme: string, columns: readonly Column[]): string {
  const [from, to] = [readme.indexOf(open), readme.indexOf(close)];
  if (from < 0 || to < from) throw new Error(`the README has no ${open} and ${close}`);
  const count = columns.flatMap((column) => column.verdicts).reduce((sum, one) => sum + one.steps, 0);
  const known = new Set(
    columns.flatMap((c) => c.verdicts.filter((one) => one.outcome === "known").flatMap((one) => one.notes)),
  );
  const about = [
    `${count} calls compared; a dash: this ctr has no such command.`,
    "_as containerd 2.1_: not in the words of this old containerd, but exactly in those of the one that berthd says it is, asked by the same ctr.",
    ...[...known].map((why) => `(1) ${why}.`),
  ].join("\n");
  return `${readme.slice(0, from + open.length)}\n\n${table(columns).join("\n")}\n\n${about}\n\n${readme.slice(to)}`;
}
