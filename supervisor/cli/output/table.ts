/** Tables for people: columns as docker prints them, without borders, that fit the terminal. */

import CliTable from "cli-table3";

/** One column of a table. */
export interface TableColumn<Row> {
  /** In capitals, as docker's. */
  readonly header: string;
  /** Text of a cell; may be coloured, must not hold control characters of others (see escape.ts). */
  readonly cell: (row: Row) => string;
  readonly align?: "left" | "right";
  /** Where lines would be too long, cells are cut down to this width; undefined for a column that is never cut. */
  readonly min?: number;
  /** Where lines would still be too long, columns with the highest number are left out first. */
  readonly drop?: number;
}

/** Between two columns, where there is room. */
const GAP = 3;
const NARROW_GAP = 2;
const noBorders = {
  top: "",
  "top-mid": "",
  "top-left": "",
  "top-right": "",
  bottom: "",
  "bottom-mid": "",
  "bottom-left": "",
  "bottom-right": "",
  left: "",
  "left-mid": "",
  mid: "",
  "mid-mid": "",
  right: "",
  "right-mid": "",
  middle: "",
} as const;

/**
 * The lines of a table with its header, each with a line feed.
 * @param width of the terminal in columns; undefined for no limit: then nothing is cut or left out
 */
export function tableOf<Row>(rows: readonly Row[], columns: readonly TableColumn<Row>[], width?: number): string {
  const cells = columns.map(({ header, cell }) => [header, ...rows.map(cell)]);
  const natural = cells.map((column) => Math.max(...column.map((text) => Bun.stringWidth(text))));
  const { shown, widths, gap } = fit(columns, natural, width);
  const last = shown.at(-1);
  const table = new CliTable({
    chars: noBorders,
    style: { "padding-left": 0, "padding-right": 0, head: [], border: [], compact: true },
    colWidths: shown.map((column) => (widths[column] ?? 0) + (column === last ? 0 : gap)),
    // Padding is part of the width: a cell is cut before it.
    truncate: "…",
  });
  for (let row = 0; row <= rows.length; row++) {
    table.push(
      shown.map((column) => ({
        content: aligned(cells[column]?.[row] ?? "", widths[column] ?? 0, columns[column]?.align),
        style: { "padding-left": 0, "padding-right": column === last ? 0 : gap },
      })),
    );
  }
  return `${table
    .toString()
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n")}\n`;
}

function aligned(text: string, width: number, align: "left" | "right" = "left"): string {
  const rest = width - Bun.stringWidth(text);
  return align === "right" && rest > 0 ? " ".repeat(rest) + text : text;
}

/** What is shown, and how wide: gaps become narrow, long cells are cut, and then columns are left out. */
function fit(
  columns: readonly TableColumn<never>[],
  natural: readonly number[],
  limit: number | undefined,
): { shown: number[]; widths: number[]; gap: number } {
  const shown = columns.map((_, index) => index);
  const widths = [...natural];
  const total = (gap: number): number =>
    shown.reduce((sum, column) => sum + (widths[column] ?? 0), gap * Math.max(0, shown.length - 1));
  if (limit === undefined || total(GAP) <= limit) return { shown, widths, gap: GAP };
  for (;;) {
    for (const column of shown) widths[column] = natural[column] ?? 0;
    shrink(columns, shown, widths, total(NARROW_GAP) - limit);
    if (total(NARROW_GAP) <= limit) break;
    const dropped = shown.reduce((worst, column) => {
      return (columns[column]?.drop ?? 0) > (columns[worst]?.drop ?? 0) ? column : worst;
    }, shown[0] ?? 0);
    if ((columns[dropped]?.drop ?? 0) === 0) break;
    shown.splice(shown.indexOf(dropped), 1);
  }
  return { shown, widths, gap: total(GAP) <= limit ? GAP : NARROW_GAP };
}

/** Takes `excess` off the columns that may be cut, always from the widest. */
function shrink(
  columns: readonly TableColumn<never>[],
  shown: readonly number[],
  widths: number[],
  excess: number,
): void {
  for (let left = excess; left > 0; left--) {
    let widest = -1;
    for (const column of shown) {
      const min = columns[column]?.min;
      const width = widths[column] ?? 0;
      if (min !== undefined && width > min && width > (widths[widest] ?? 0)) widest = column;
    }
    if (widest < 0) return;
    widths[widest] = (widths[widest] ?? 0) - 1;
  }
}
