/** The lines of `berth top`: pure, so that it can be looked at without a terminal. */

import type { createColors } from "picocolors";
import { shortDuration } from "../output/age.ts";
import { shown } from "../output/escape.ts";
import { binarySize, decimalSize } from "../output/size.ts";
import { type TableColumn, tableOf } from "../output/table.ts";
import type { StatsRow } from "./stats.ts";

/** Columns by which rows can be sorted. */
export const orders = ["name", "cpu", "memory", "restarts"] as const;
export type Order = (typeof orders)[number];

/** A row with the namespace that it is of. */
export interface TopRow extends StatsRow {
  readonly namespace: string;
}

/** Everything that is shown. */
export interface TopView {
  readonly host: string;
  readonly daemon: string;
  readonly now: Date;
  /** Seconds. */
  readonly uptime: number;
  readonly load: readonly number[];
  /** Part of all CPUs, from 0 to 1. */
  readonly cpu: number;
  readonly memory: { readonly total: number; readonly available: number };
  readonly disk: { readonly total: number; readonly free: number } | undefined;
  readonly rows: readonly TopRow[];
  readonly order: Order;
  /** Key of the row that is marked, see {@link keyOf}. */
  readonly selected: string | undefined;
  /** The last lines of what happened. */
  readonly events: readonly string[];
  /** A question or an answer in the last line, instead of the keys. */
  readonly message: string | undefined;
}

type Colors = ReturnType<typeof createColors>;

/** Rows of the table above which no events are shown. */
const MIN_ROWS = 4;

/** What tells a row from all others. */
export function keyOf({ namespace, container }: TopRow): string {
  return `${namespace}/${container.id}`;
}

/** Rows in the order that is asked for. */
export function sorted(rows: readonly TopRow[], order: Order): TopRow[] {
  const byName = (a: TopRow, b: TopRow): number => (keyOf(a) < keyOf(b) ? -1 : 1);
  const size: Readonly<Record<Order, (row: TopRow) => number>> = {
    name: () => 0,
    cpu: ({ cpu }) => cpu,
    memory: ({ usage }) => usage?.memory ?? -1,
    restarts: ({ container }) => container.restarts,
  };
  return [...rows].sort((a, b) => size[order](b) - size[order](a) || byName(a, b));
}

/** The screen: at most `rows` lines of at most `columns` columns. */
export function linesOf(view: TopView, columns: number, rows: number, colors: Colors): string[] {
  const list = sorted(view.rows, view.order);
  const head = headOf(view, columns, colors);
  const foot = footOf(view, columns, colors);
  const events = view.events.slice(-Math.max(0, Math.min(view.events.length, 5, rows - head.length - MIN_ROWS - 3)));
  const room = Math.max(1, rows - head.length - 2 - (events.length > 0 ? events.length + 1 : 0));
  const at = Math.max(
    0,
    list.findIndex((row) => keyOf(row) === view.selected),
  );
  const first = Math.max(0, Math.min(at - Math.floor(room / 2), list.length - room));
  const visible = list.slice(first, first + room);
  const [titles = "", ...body] = tableOf(visible, columnsOf(view, columns, colors), columns)
    .trimEnd()
    .split("\n");
  const lines = [...head, colors.inverse(titles.padEnd(columns))];
  visible.forEach((row, index) => {
    const line = body[index] ?? "";
    lines.push(keyOf(row) === view.selected ? `${colors.bold(">")}${line.slice(1)}` : line);
  });
  if (list.length === 0) lines.push(colors.dim("  no containers: berth run makes one"));
  const lowest = rows - 1 - (events.length > 0 ? events.length + 1 : 0);
  while (lines.length < lowest) lines.push("");
  if (events.length > 0)
    lines.push(colors.dim("─".repeat(columns)), ...events.map((event) => cut(shown(event), columns)));
  lines.push(foot);
  return lines.slice(0, rows);
}

function headOf(view: TopView, columns: number, colors: Colors): string[] {
  const { rows, memory, disk } = view;
  const count = (status: string): number => rows.filter(({ container }) => container.status === status).length;
  const sick = rows.filter(({ container }) => container.health === "unhealthy").length;
  const time = view.now.toTimeString().slice(0, 8);
  const title = `${shown(view.host)}  ${shown(view.daemon)}  up ${shortDuration(view.uptime * 1000)}  load ${view.load.map((load) => load.toFixed(2)).join(" ")}`;
  const used = memory.total - memory.available;
  const width = Math.max(5, Math.min(20, Math.floor((columns - 50) / 3)));
  const gauges = [
    `CPU ${bar(view.cpu, width, colors)} ${(view.cpu * 100).toFixed(0).padStart(3)}%`,
    `MEM ${bar(used / (memory.total || 1), width, colors)} ${binarySize(used, 3)}/${binarySize(memory.total, 3)}`,
    ...(disk ? [`DISK ${bar(1 - disk.free / (disk.total || 1), width, colors)} ${decimalSize(disk.free)} free`] : []),
  ];
  const states = [
    `${rows.length} containers`,
    `${count("running")} running`,
    ...(["restarting", "paused", "stopped"] as const)
      .filter((name) => count(name) > 0)
      .map((name) => `${count(name)} ${name}`),
    ...(sick > 0 ? [colors.red(`${sick} unhealthy`)] : []),
  ];
  return [
    between(cut(title, columns - 10), time, columns),
    cut(gauges.join("  "), columns),
    cut(states.join(", "), columns),
    "",
  ];
}

function footOf(view: TopView, columns: number, colors: Colors): string {
  if (view.message !== undefined) return cut(colors.bold(shown(view.message)), columns);
  return cut(colors.dim(`q quit  s sort (${view.order})  ↑↓ select  k stop the selected`), columns);
}

function columnsOf(view: TopView, columns: number, colors: Colors): TableColumn<TopRow>[] {
  const spaces = new Set(view.rows.map(({ namespace }) => namespace));
  const width = columns >= 100 ? 10 : 5;
  return [
    { header: "  NAME", cell: ({ container }) => `  ${shown(container.id)}`, min: 12 },
    ...(spaces.size > 1
      ? [{ header: "NAMESPACE", cell: ({ namespace }: TopRow) => shown(namespace), min: 6, drop: 5 }]
      : []),
    { header: "STATE", cell: ({ container }) => stateOf(container.status, colors) },
    { header: "HEALTH", cell: ({ container }) => healthOf(container.health, colors), drop: 3 },
    {
      header: "RST",
      cell: ({ container }) => (container.restarts > 0 ? String(container.restarts) : ""),
      align: "right",
      drop: 4,
    },
    {
      header: "CPU",
      cell: ({ usage, cpu }) =>
        usage ? `${bar(Math.min(1, cpu / 100), width, colors)} ${cpu.toFixed(1).padStart(5)}%` : "",
    },
    {
      header: "MEMORY",
      cell: ({ usage }) =>
        usage
          ? `${bar(usage.memory / (usage.memoryLimit || 1), width, colors)} ${binarySize(usage.memory, 3).padStart(7)}`
          : "",
    },
    {
      header: "NET I/O",
      cell: ({ traffic }) => (traffic ? `${decimalSize(traffic.received, 2)}/${decimalSize(traffic.sent, 2)}` : ""),
      drop: 6,
    },
    { header: "PIDS", cell: ({ usage }) => (usage ? String(usage.pids) : ""), align: "right", drop: 7 },
    {
      header: "IMAGE",
      cell: ({ container }) => shown(container.image.replace(/^docker\.io\/(library\/)?/, "")),
      min: 10,
      drop: 8,
    },
  ];
}

function stateOf(status: string, colors: Colors): string {
  if (status === "running") return colors.green(status);
  return status === "restarting" ? colors.yellow(status) : colors.dim(status);
}

function healthOf(health: string, colors: Colors): string {
  if (health === "healthy") return colors.green(health);
  return health === "unhealthy" ? colors.red(health) : shown(health);
}

/** A small bar. @param part from 0 to 1 */
export function bar(part: number, width: number, colors: Colors): string {
  const full = Math.max(0, Math.min(width, Math.round((Number.isFinite(part) ? part : 0) * width)));
  const text = "█".repeat(full);
  const paint = part >= 0.9 ? colors.red : part >= 0.7 ? colors.yellow : colors.green;
  return `${full > 0 ? paint(text) : ""}${colors.dim("░".repeat(width - full))}`;
}

function between(left: string, right: string, columns: number): string {
  return `${left}${" ".repeat(Math.max(1, columns - Bun.stringWidth(left) - Bun.stringWidth(right)))}${right}`;
}

/** Cuts a line, which may be coloured, to a width. */
function cut(text: string, columns: number): string {
  if (Bun.stringWidth(text) <= columns) return text;
  const plain = Bun.stripANSI(text);
  let end = Math.max(0, columns - 1);
  while (end > 0 && Bun.stringWidth(plain.slice(0, end)) > columns - 1) end--;
  return `${plain.slice(0, end)}…`;
}
