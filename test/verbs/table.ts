/** The table of verbs and daemons, for a person and for the README. */

import type { Outcome } from "./main.ts";

/** What one daemon did. */
export interface Column {
  readonly name: string;
  readonly outcomes: readonly Outcome[];
}

const [open, close] = ["<!-- verbs table -->", "<!-- /verbs table -->"];

function cell({ outcomes }: Column, name: string): string {
  const outcome = outcomes.find(({ row }) => row.name === name);
  if (outcome === undefined) return "-";
  if (outcome.problem === undefined) return "works";
  return outcome.row.needs === undefined ? "fails" : `needs ${outcome.row.needs}`;
}

/** The table as lines of markdown. */
export function table(columns: readonly Column[]): string[] {
  const names = [...new Set(columns.flatMap(({ outcomes }) => outcomes.map(({ row }) => row.name)))];
  const cells = [
    ["verb", ...columns.map(({ name }) => name)],
    ...names.map((name) => [name, ...columns.map((column) => cell(column, name))]),
  ];
  const widths = (cells[0] ?? []).map((_, at) => Math.max(...cells.map((row) => (row[at] ?? "").length)));
  const line = (row: readonly string[]): string =>
    `| ${row.map((text, at) => text.padEnd(widths[at] ?? 0)).join(" | ")} |`;
  const [head = [], ...body] = cells;
  return [line(head), `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`, ...body.map(line)];
}

/** The README with the table in the place that is marked for it. @throws Error when there is no such place */
export function intoReadme(readme: string, lines: readonly string[]): string {
  const [from, to] = [readme.indexOf(open), readme.indexOf(close)];
  if (from < 0 || to < from) throw new Error(`the README has no ${open} and ${close}`);
  return `${readme.slice(0, from + open.length)}\n\n${lines.join("\n")}\n\n${readme.slice(to)}`;
}
