import { expect, test } from "bun:test";
import { createColors } from "picocolors";
import { linesOf, type TopRow, type TopView } from "../../../../../supervisor/cli/host/topview.ts";
import { keysOf } from "../../../../../supervisor/cli/output/live.ts";

const colors = createColors(false);

function row(id: string, cpu: number, more: Partial<TopRow["container"]> = {}): TopRow {
  const container = {
    ...{
      id,
      image: "docker.io/library/alpine:latest",
      labels: {},
      createdAt: new Date(0),
      snapshotter: "",
      snapshotKey: "",
    },
    ...{
      status: "running" as const,
      pid: 1,
      exitStatus: undefined,
      exitedAt: undefined,
      isStopped: false,
      isKept: false,
    },
    ...{ health: "", restarts: 0 },
    ...more,
  };
  const usage = { at: 0, cpu: 0, memory: 1 << 20, memoryLimit: 1 << 30, read: 0, written: 0, pids: 1 };
  return { namespace: "default", container, usage, cpu, traffic: undefined };
}

function view(rows: readonly TopRow[], more: Partial<TopView> = {}): TopView {
  return {
    ...{ host: "edge", daemon: "berthd 1", now: new Date(0), uptime: 60, load: [1, 2, 3], cpu: 0.5 },
    ...{ memory: { total: 1 << 30, available: 1 << 29 }, disk: { total: 1e9, free: 1e8 } },
    ...{ rows, order: "cpu", selected: undefined, events: [], message: undefined },
    ...more,
  } as TopView;
}

test("the screen is never wider or higher than the terminal", () => {
  const rows = Array.from({ length: 60 }, (_, index) => row(`container-with-a-long-name-${index}`, index));
  for (const [columns, lines] of [
    [40, 10],
    [80, 24],
    [120, 40],
    [20, 6],
  ] as const) {
    const shown = linesOf(view(rows, { events: ["a", "b"] }), columns, lines, colors);
    expect(shown.length).toBeLessThanOrEqual(lines);
    if (columns >= 80) for (const line of shown) expect(Bun.stringWidth(line)).toBeLessThanOrEqual(columns);
  }
});

test("rows are sorted, what is selected stays in sight, and hostile names do nothing", () => {
  const rows = [row("idle", 0), row("busy\x1b[2J", 90), row("sick", 1, { health: "unhealthy", restarts: 3 })];
  const lines = linesOf(view(rows, { selected: "default/sick" }), 120, 24, colors);
  const names = lines.slice(5, 8).map((line) => line.trim().split(/\s+/).slice(0, 2).join(" "));
  expect(names).toEqual(["busy\\x1b[2J running", "> sick", "idle running"]);
  expect(lines.join("\n")).not.toContain("\x1b");
  expect(lines[2]).toContain("1 unhealthy");
  const many = Array.from({ length: 60 }, (_, index) => row(`c${String(index).padStart(2, "0")}`, 0));
  expect(linesOf(view(many, { selected: "default/c59" }), 80, 12, colors).join("\n")).toContain("> c59");
});

test("keys are read out of what a terminal sends at once", () => {
  expect(keysOf("\x1b[A\x1b[Bq\x03\x1b[15~s")).toEqual(["up", "down", "q", "ctrl-c", "s"]);
});
