/** One self-contained page: a matrix of checks by shims, and each failure in full. */

import { count, type Report, type Result, sectionsOf } from "../result.ts";
import { escapeMarkup } from "./markup.ts";
import { failureLines } from "./text.ts";

const style = `
:root { color-scheme: light dark; --line: #8884; --pass: #2a7d2a; --fail: #c62828; --soft: #b26a00; --dim: #888 }
body { font: 14px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 80em; padding: 0 1em }
table { border-collapse: collapse; width: 100% }
table.glance { width: auto; margin-bottom: 2em }
th, td { text-align: left; vertical-align: top; padding: .2em .6em; border-bottom: 1px solid var(--line) }
thead th { position: sticky; top: 0; background: Canvas }
th[colspan] { padding-top: 1.2em; font-size: 1.1em }
td.id { white-space: nowrap; font-family: ui-monospace, monospace }
td.o { white-space: nowrap; font-weight: 600 }
.pass { color: var(--pass) } .fail, .error { color: var(--fail) } .passed-unexpectedly, .soft { color: var(--soft) }
.skip, .expected { color: var(--dim); font-weight: 400 }
summary { cursor: pointer } pre { white-space: pre-wrap; overflow-wrap: anywhere; font-weight: 400; color: CanvasText }
small { color: var(--dim) }
`;

const words: Readonly<Record<Result["outcome"], string>> = {
  pass: "pass",
  fail: "fail",
  skip: "skipped",
  expected: "known",
  "passed-unexpectedly": "passed, listed as failing",
  error: "not run",
};

/** @param reports one column each */
export function htmlReport(reports: readonly Report[]): string {
  const rows = new Map<string, Result>();
  // A check that only a later report has still gets its place in its section.
  for (const { results } of reports)
    for (const result of results) if (!rows.has(result.id)) rows.set(result.id, result);
  const columns = reports.map(({ results }) => new Map(results.map((result) => [result.id, result])));
  const sections = [...sectionsOf([...rows.values()])].map(([name, checks]) => {
    const title = `<tr><th colspan="${reports.length + 2}">${escapeMarkup(name)}</th></tr>`;
    return [title, ...checks.map((check) => row(check, columns, reports))].join("\n");
  });
  const heads = reports.map(
    (report) => `<th>${escapeMarkup(report.name)}<br><small>${escapeMarkup(tally(report))}</small></th>`,
  );
  const about = reports.map((r) => `<li>${escapeMarkup(`${r.name}: ${r.shim}, ${r.machine}, ${r.begun}`)}</li>`);
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Conformance of shims</title><style>${style}</style></head><body>
<h1>Conformance of shims</h1>
<ul>${about.join("")}</ul>
<table class="glance"><thead><tr><th>Section</th>${heads.join("")}</tr></thead><tbody>
${[...sectionsOf([...rows.values()]).keys()].map((name) => glance(name, reports)).join("\n")}
</tbody></table>
<table><thead><tr><th>Check</th><th>Rule</th>${heads.join("")}</tr></thead><tbody>
${sections.join("\n")}
</tbody></table>
</body></html>
`;
}

/** One section at a glance: how many of its checks each shim keeps, and the worst of what it does not. */
function glance(section: string, reports: readonly Report[]): string {
  const cells = reports.map(({ results }) => {
    const made = results.filter((result) => result.section === section && result.outcome !== "skip");
    if (made.length === 0) return "<td></td>";
    const kept = made.filter(({ outcome }) => outcome === "pass").length;
    const kinds = made.map(kindOf);
    const worst = ["error", "fail", "passed-unexpectedly", "soft", "expected"].find((kind) => kinds.includes(kind));
    return `<td class="o ${worst ?? "pass"}">${kept === made.length ? kept : `${kept} of ${made.length}`}</td>`;
  });
  return `<tr><td>${escapeMarkup(section)}</td>${cells.join("")}</tr>`;
}

/** The class of an outcome: a SHOULD that fails is not as bad as a MUST. */
function kindOf({ outcome, level }: Result): string {
  return outcome === "fail" && level === "should" ? "soft" : outcome;
}

function tally({ results }: Report): string {
  const { pass, fail, expected, skip } = count(results);
  return `${pass} pass, ${fail} fail, ${expected} known, ${skip} skipped`;
}

function row(check: Result, columns: readonly Map<string, Result>[], reports: readonly Report[]): string {
  const cells = columns.map((column, index) => cell(column.get(check.id), reports[index]?.shim ?? ""));
  const level = check.level === "should" ? " <small>SHOULD</small>" : "";
  const rule = `<td title="${escapeMarkup(check.source)}">${escapeMarkup(check.title)}${level}</td>`;
  return `<tr><td class="id">${escapeMarkup(check.id)}</td>${rule}${cells.join("")}</tr>`;
}

function cell(result: Result | undefined, shim: string): string {
  if (result === undefined) return "<td></td>";
  const { outcome } = result;
  const kind = kindOf(result);
  if (outcome === "pass") return `<td class="o pass">pass</td>`;
  const text = outcome === "skip" ? (result.reason ?? "") : failureLines(result, shim).join("\n");
  return `<td class="o ${kind}"><details><summary>${words[outcome]}</summary><pre>${escapeMarkup(text)}</pre></details></td>`;
}
