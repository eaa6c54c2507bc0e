/** JUnit XML, as CI systems read it. */

import { count, type Report, type Result, sectionsOf } from "../result.ts";
import { escapeMarkup } from "./markup.ts";
import { failureLines } from "./text.ts";

export function junitReport(report: Report): string {
  const suites = [...sectionsOf(report.results)].map(([name, results]) => {
    const cases = results.map((result) => testCase(result, report.shim)).join("");
    return `  <testsuite ${attributes({ name, ...numbers(results) })}>\n${cases}  </testsuite>\n`;
  });
  const all = attributes({ name: report.name, ...numbers(report.results), time: seconds(report.ms) });
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites ${all}>\n${suites.join("")}</testsuites>\n`;
}

function numbers(results: readonly Result[]): Record<string, number> {
  const counts = count(results);
  const failures = results.filter(isFailure).length;
  return { tests: results.length, failures, errors: counts.error, skipped: results.filter(isSkipped).length };
}

/** A SHOULD that fails does not break a build. */
function isFailure({ outcome, level }: Result): boolean {
  return outcome === "passed-unexpectedly" || (outcome === "fail" && level === "must");
}

function isSkipped({ outcome, level }: Result): boolean {
  return outcome === "skip" || outcome === "expected" || (outcome === "fail" && level === "should");
}

function testCase(result: Result, shim: string): string {
  const { id, title, section, ms, outcome, reason, failure } = result;
  const named = attributes({ classname: section, name: `${id} ${title}`, time: seconds(ms) });
  if (outcome === "pass") return `    <testcase ${named}/>\n`;
  const message =
    failure === undefined ? (reason ?? "") : `expected ${failure.expected}; came back: ${failure.received}`;
  const kind = isSkipped(result) ? "skipped" : outcome === "error" ? "error" : "failure";
  const text = kind === "skipped" ? "" : escapeMarkup(failureLines(result, shim).join("\n"));
  return `    <testcase ${named}><${kind} ${attributes({ message })}>${text}</${kind}></testcase>\n`;
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(3);
}

function attributes(values: Readonly<Record<string, string | number>>): string {
  return Object.entries(values)
    .map(([name, value]) => `${name}="${escapeMarkup(String(value))}"`)
    .join(" ");
}
