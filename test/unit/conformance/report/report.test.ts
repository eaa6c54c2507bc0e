import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formats } from "../../../conformance/options.ts";
import { readReport } from "../../../conformance/report/json.ts";
import { escapeMarkup } from "../../../conformance/report/markup.ts";
import { render, renderAll } from "../../../conformance/report/report.ts";
import type { Report, Result } from "../../../conformance/result.ts";

const failure = {
  expected: 'the status to be "RUNNING"',
  received: '"<b>"',
  exchanges: ["State {} -> {}", "Start {} -> NotFound (5): a & b"],
  log: ["level=info"],
};
const base = { level: "must", title: "A rule.", source: "file.go", ms: 12 } as const;
const results: readonly Result[] = [
  { ...base, id: "A-1.x", section: "first", outcome: "pass" },
  { ...base, id: "A-2", section: "first", outcome: "fail", failure },
  { ...base, id: "A-3", section: "first", outcome: "fail", level: "should", failure },
  { ...base, id: "B-1", section: "second", outcome: "skip", reason: "no #memory" },
  { ...base, id: "B-2", section: "second", outcome: "expected", reason: "known (there)", failure },
  { ...base, id: "B-3", section: "second", outcome: "passed-unexpectedly", reason: "known (there)" },
  { ...base, id: "B-4", section: "second", outcome: "error", reason: "Error: no space\n  at x" },
];
const report: Report = {
  format: 1,
  shim: "/bin/shim",
  name: "shim 1.0",
  machine: "Linux",
  begun: "2026-01-01T00:00:00.000Z",
  ms: 1500,
  results,
};

describe("text", () => {
  const text = render(report, "text");
  test("sums up by section, and in the last line", () => {
    expect(text).toContain("first                  1 pass, 2 FAIL\n");
    expect(text).toContain(
      "second                 0 pass, 1 known to fail, 1 passed unexpectedly, 1 not run, 1 skipped\n",
    );
    expect(text.trimEnd().split("\n").at(-1)).toBe(
      "7 checks in 1.5 s: 1 passed, 1 skipped, 1 known to fail, 1 could not be run, 1 SHOULD failed, 2 MUST failed",
    );
  });

  test("tells a failure in full, and how to see it again", () => {
    expect(text).toContain(
      [
        "FAIL A-2  MUST  A rule.",
        '  expected   the status to be "RUNNING"',
        '  came back  "<b>"',
        "  sent       State {} -> {}",
        "             Start {} -> NotFound (5): a & b",
        "  its log    level=info",
        "  why        contract A-2; file.go",
        "  again      berth conformance --shim /bin/shim --only A-2 --verbose",
      ].join("\n"),
    );
  });
});

test("tap: a plan, a line each, and known failures as TODO", () => {
  const lines = render(report, "tap").split("\n");
  expect(lines.slice(0, 3)).toEqual(["TAP version 14", "1..7", "ok 1 - A-1.x must: A rule."]);
  expect(lines.filter((line) => /^(not )?ok/.test(line)).slice(1)).toEqual([
    "not ok 2 - A-2 must: A rule.",
    "not ok 3 - A-3 should: A rule. # TODO",
    "ok 4 - B-1 must: A rule. # SKIP no #memory",
    "not ok 5 - B-2 must: A rule. # TODO known (there)",
    "not ok 6 - B-3 must: A rule.",
    "not ok 7 - B-4 must: A rule.",
  ]);
});

test("junit: a suite for each section, and only what fails a run is a failure", () => {
  const text = render(report, "junit");
  expect(text).toContain('<testsuites name="shim 1.0" tests="7" failures="2" errors="1" skipped="3" time="1.500">');
  expect(text).toContain('<testsuite name="first" tests="3" failures="1" errors="0" skipped="1">');
  expect(text).toContain("came back: &quot;&lt;b&gt;&quot;");
  expect(text).not.toContain("<b>");
});

test("json: is read back as it was", () => {
  const dir = mkdtempSync(join(tmpdir(), "report-"));
  try {
    const path = join(dir, "a.json");
    writeFileSync(path, render(report, "json"));
    expect(readReport(path)).toEqual(report);
    writeFileSync(path, "{}");
    expect(() => readReport(path)).toThrow("is no report");
    expect(() => readReport(join(dir, "none"))).toThrow("ENOENT");
  } finally {
    rmSync(dir, { recursive: true });
  }
});

describe("html", () => {
  test("is one page that loads nothing and has each check once", () => {
    const page = render(report, "html");
    expect(page).not.toMatch(/<(script|link|img)|https?:\/\//);
    expect(page).not.toContain("<b>");
    for (const { id } of results) expect(page.split(`<td class="id">${id}</td>`)).toHaveLength(2);
  });

  test("begins with the sections, and what is worst in each", () => {
    const page = render(report, "html");
    expect(page).toContain('<tr><td>first</td><td class="o fail">1 of 3</td></tr>');
    expect(page).toContain('<tr><td>second</td><td class="o error">0 of 3</td></tr>');
    const kept = render({ ...report, results: results.slice(0, 1) }, "html");
    expect(kept).toContain('<tr><td>first</td><td class="o pass">1</td></tr>');
  });

  test("has a column for each shim, and a row for what only one has", () => {
    const other = {
      ...report,
      name: "other",
      results: [{ ...base, id: "C-1", section: "first", outcome: "pass" } as const],
    };
    const page = renderAll([report, other], "html");
    expect(page).toContain("<th>shim 1.0<br>");
    expect(page).toContain("<th>other<br>");
    expect(page).toContain(
      '<td class="id">C-1</td><td title="file.go">A rule.</td><td></td><td class="o pass">pass</td>',
    );
  });
});

test.each(formats)("%s of no results at all", (format) => {
  expect(render({ ...report, results: [] }, format)).not.toBe("");
});

test("markup is escaped, and what XML cannot have is left out", () => {
  expect(escapeMarkup('<a b="c">&\'\u0000\u001b\ud800x')).toBe(
    "&lt;a b=&quot;c&quot;&gt;&amp;&#39;\ufffd\ufffd\ufffdx",
  );
});
