/** The dashboard against Grafana's model of one (its documentation, "Dashboard JSON model"). */

import { expect, test } from "bun:test";
import dashboard from "../../../../supervisor/status/grafana-dashboard.json" with { type: "json" };

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly gridPos: { readonly h: number; readonly w: number; readonly x: number; readonly y: number };
  readonly datasource?: unknown;
  readonly targets?: readonly { readonly refId: string; readonly expr: string; readonly datasource: unknown }[];
  readonly fieldConfig?: { readonly defaults: object; readonly overrides: readonly unknown[] };
  readonly options?: object;
}

const panels = dashboard.panels as readonly Panel[];
const graphs = panels.filter(({ type }) => type !== "row");

test("it has what an import asks for", () => {
  // A copy: the matchers are put into what they match.
  expect(structuredClone(dashboard)).toMatchObject({
    id: null,
    uid: expect.stringMatching(/^[\w-]{1,40}$/),
    title: expect.any(String),
    schemaVersion: expect.any(Number),
    version: expect.any(Number),
    editable: true,
    time: { from: "now-6h", to: "now" },
    templating: { list: expect.any(Array) },
    annotations: { list: expect.any(Array) },
    tags: expect.arrayContaining(["berth"]),
  });
  expect(dashboard.refresh).toMatch(/^\d+[smh]$/);
});

test("panels have ids of their own and places that do not overlap", () => {
  expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
  const taken = new Set<string>();
  for (const { gridPos, title, type } of panels) {
    const { x, y, w, h } = gridPos;
    expect([x >= 0, x + w <= 24, h > 0, title !== ""]).toEqual([true, true, true, true]);
    expect(["row", "stat", "timeseries"]).toContain(type);
    for (let row = y; row < y + h; row++) {
      for (let column = x; column < x + w; column++) {
        expect(taken.has(`${row} ${column}`)).toBe(false);
        taken.add(`${row} ${column}`);
      }
    }
  }
});

test("every panel asks the source that is chosen, by queries that are whole and know their variables", () => {
  const source = { type: "prometheus", uid: ["$", "{datasource}"].join("") };
  const variables = new Set(dashboard.templating.list.map(({ name }) => name));
  for (const panel of graphs) {
    expect(panel.datasource).toEqual(source);
    expect(panel.targets?.length).toBeGreaterThan(0);
    expect(new Set(panel.targets?.map(({ refId }) => refId)).size).toBe(panel.targets?.length ?? 0);
    expect(panel.fieldConfig?.overrides).toEqual([]);
    for (const { expr, datasource } of panel.targets ?? []) {
      expect(datasource).toEqual(source);
      for (const [open, close] of ["()", "{}", "[]"].map((pair) => [...pair] as [string, string])) {
        expect(expr.split(open).length).toBe(expr.split(close).length);
      }
      for (const [, name = ""] of expr.matchAll(/\$(\w+)/g)) {
        expect(name === "__rate_interval" || variables.has(name)).toBe(true);
      }
      // Counters are never shown as they are.
      for (const [, before = "", name = ""] of expr.matchAll(/(\w+\()?\b([a-z_]+_total)\b/g)) {
        if (name !== "berth_boots_total") expect(["rate(", "increase("]).toContain(before);
      }
    }
  }
});
