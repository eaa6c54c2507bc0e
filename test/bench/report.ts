/** The figures as a table for people, as Markdown, and as JSON. */

import type { Figure, Samples, Unit } from "./figure.ts";
import type { Machine } from "./machine.ts";
import { type Summary, summarize } from "./statistics.ts";

/** Whether a figure keeps its limits; `shown` has none. */
export type Verdict = "ok, aim met" | "ok" | "MISS" | "shown";

/** What one runtime came to in one figure. */
export interface Column extends Summary {
  readonly runtime: string;
  readonly samples: readonly number[];
  /** Judged on its own, where the figure is. */
  readonly verdict: Verdict;
}

/** One line of the table. */
export interface Row {
  readonly id: string;
  readonly title: string;
  readonly unit: Unit;
  readonly better: "lower" | "higher";
  readonly must?: number;
  readonly aim?: number;
  readonly columns: readonly Column[];
  /** The last runtime's median over the first one's; absent where it says nothing. */
  readonly ratio?: number;
  /** Of the last runtime. */
  readonly verdict: Verdict;
}

/** A runtime as a report names it. */
export interface ReportedRuntime {
  readonly name: string;
  readonly path: string;
  readonly version: string;
}

/** Everything that one run of the bench says. */
export interface Report {
  readonly bench: string;
  readonly date: string;
  readonly quick: boolean;
  readonly command: string;
  readonly machine: Machine;
  /** The load average of the last minute when the bench ended; the bench itself makes some of it. */
  readonly loadAtEnd: number;
  readonly versions: Record<string, string>;
  readonly runtimes: readonly ReportedRuntime[];
  readonly scale: Readonly<Record<string, number>>;
  readonly seconds: number;
  readonly rows: readonly Row[];
  /** Measurements that ended early, and why. Their figures may be absent or have fewer samples. */
  readonly failures: readonly string[];
}

/** Judges a value by a figure's limits. */
export function judge(figure: Figure, value: number): Verdict {
  if (figure.must === undefined || figure.aim === undefined) {
    return "shown";
  }
  const keeps = (limit: number): boolean => (figure.better === "lower" ? value <= limit : value >= limit);
  return keeps(figure.aim) ? "ok, aim met" : keeps(figure.must) ? "ok" : "MISS";
}

/** The rows of all figures that were measured. */
export function makeRows(figures: readonly Figure[], samples: Samples, runtimes: readonly string[]): Row[] {
  const rows: Row[] = [];
  for (const figure of figures) {
    const columns: Column[] = [];
    for (const runtime of runtimes) {
      const values = samples.of(figure.id, runtime);
      if (values.length > 0) {
        const summary = summarize(values);
        const verdict = figure.judged === "own" ? judge(figure, summary.median) : "shown";
        columns.push({ runtime, ...summary, samples: values, verdict });
      }
    }
    const first = columns[0];
    const last = columns.at(-1);
    if (first === undefined || last === undefined) {
      continue;
    }
    const ratio = first.median === 0 ? undefined : last.median / first.median;
    rows.push({
      id: figure.id,
      title: figure.title,
      unit: figure.unit,
      better: figure.better,
      ...(figure.must === undefined ? {} : { must: figure.must }),
      ...(figure.aim === undefined ? {} : { aim: figure.aim }),
      columns,
      ...(ratio === undefined || columns.length < 2 || figure.judged === "own" ? {} : { ratio }),
      verdict: figure.judged === "own" ? last.verdict : ratio === undefined ? "shown" : judge(figure, ratio),
    });
  }
  return rows;
}

/** A value in the unit that reads best. */
export function formatValue(value: number, unit: Unit): string {
  switch (unit) {
    case "s":
      return value >= 1 ? `${value.toFixed(2)} s` : `${(value * 1000).toFixed(1)} ms`;
    case "B/s":
      return value >= 1e9 ? `${(value / 1e9).toFixed(2)} GB/s` : `${(value / 1e6).toFixed(0)} MB/s`;
    case "kB":
      return `${Math.round(value).toLocaleString("en")} kB`;
    case "x":
      return value.toFixed(2);
    case "/min":
      return `${Number(value.toFixed(1))} /min`;
    case "/s":
      return `${Math.round(value).toLocaleString("en")} /s`;
  }
}

function formatColumn(column: Column | undefined, unit: Unit): string {
  if (column === undefined) {
    return "";
  }
  const middle = formatValue(column.median, unit);
  if (column.count === 1) {
    return middle;
  }
  const bare = (value: number): string => formatValue(value, unit).replace(/ .*/, "");
  const low = formatValue(column.p10, unit);
  const high = formatValue(column.p90, unit);
  // Both ends in the median's unit where they have the same, else each with its own.
  const unitOf = (text: string): string => text.replace(/^\S+ ?/, "");
  const same = unitOf(low) === unitOf(middle) && unitOf(high) === unitOf(middle);
  return `${middle} (${same ? `${bare(column.p10)}..${bare(column.p90)}` : `${low}..${high}`})`;
}

function cells(report: Report): string[][] {
  const limit = (row: Row, value: number | undefined): string => {
    return value === undefined ? "" : `${row.better === "lower" ? "<=" : ">="} ${value}`;
  };
  const header = ["figure", ...report.runtimes.map(({ name }) => name), "n", "ratio", "must", "aim", "verdict"];
  const body = report.rows.map((row) => [
    row.title,
    ...report.runtimes.map(({ name }) => {
      return formatColumn(
        row.columns.find(({ runtime }) => runtime === name),
        row.unit,
      );
    }),
    String(Math.min(...row.columns.map(({ count }) => count))),
    row.ratio?.toFixed(2) ?? "",
    limit(row, row.must),
    limit(row, row.aim),
    row.verdict === "shown" ? "" : row.verdict,
  ]);
  return [header, ...body];
}

function origin(report: Report): string[] {
  const { machine, runtimes } = report;
  const versions = Object.entries(report.versions).map(([name, version]) => `${name} ${version}`);
  const [first, last] = [runtimes[0]?.name ?? "", runtimes.at(-1)?.name ?? ""];
  return [
    `${report.date}, ${report.command}, ${Math.round(report.seconds)} s${report.quick ? ", quick: small samples" : ""}`,
    `${machine.processor}, ${machine.cores} cores, ${machine.memory} MiB, ${machine.system}, Linux ${machine.kernel}, on ${machine.disk}, load ${machine.load} at the start and ${report.loadAtEnd} at the end; to run an empty program takes ${formatValue(machine.spawn, "s")}`,
    `${versions.join(", ")}; ${runtimes.map(({ name, version }) => `${name}: ${version}`).join(", ")}`,
    `Medians of n samples, 10th..90th percentile in brackets, none left out; ratio: ${last} over ${first}, measured in turns (A B B A).`,
  ];
}

function failed(report: Report): string[] {
  return report.failures.flatMap((text) => ["", `FAILED ${text}`]);
}

/** The table for a terminal. */
export function formatTable(report: Report): string {
  const table = cells(report);
  const widths = (table[0] ?? []).map((_, column) => Math.max(...table.map((row) => (row[column] ?? "").length)));
  const lines = table.map((row) =>
    row
      .map((cell, column) =>
        column === 0 || column === row.length - 1
          ? cell.padEnd(widths[column] ?? 0)
          : cell.padStart(widths[column] ?? 0),
      )
      .join("  ")
      .trimEnd(),
  );
  lines.splice(1, 0, widths.map((width) => "-".repeat(width)).join("  "));
  return [...origin(report), "", ...lines, ...failed(report), ""].join("\n");
}

/** The table for the README. */
export function formatMarkdown(report: Report): string {
  const [header = [], ...body] = cells(report);
  const line = (row: readonly string[]): string => `| ${row.map((cell) => cell.trim()).join(" | ")} |`;
  const rule = header.map((_, column) => (column === 0 || column === header.length - 1 ? "---" : "---:"));
  return [
    line(header),
    line(rule),
    ...body.map(line),
    ...failed(report),
    "",
    ...origin(report).map((text) => `${text}  `),
    "",
  ].join("\n");
}

/** The report for programs, samples included. */
export function formatJson(report: Report): string {
  return `${JSON.stringify(report, undefined, 2)}\n`;
}
